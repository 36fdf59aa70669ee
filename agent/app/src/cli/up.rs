//! `shoal up` and `shoal join`: the agent in the foreground.

use std::net::{SocketAddr, ToSocketAddrs};

use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use super::print::say;
use super::{AgentChoice, CliError};
use crate::config::{AgentConfig, ConfigOverrides, default_data_directory};
use crate::context::AgentContext;
use crate::run::run;
use crate::start::{Entry, FirstStart};

/// What an agent is told at its start. What the first start is told is kept in `agent.toml`.
#[derive(clap::Args, Debug, Clone)]
pub(super) struct UpOptions {
    /// Nickname of this agent; the computer's name by default.
    #[arg(long)]
    name: Option<String>,
    /// Where the drive is served [default: 127.0.0.1:4918]. Other addresses than loopback are served over TLS.
    #[arg(long)]
    dav: Option<SocketAddr>,
    /// Where other agents reach this one [default: 0.0.0.0:4920]; their data takes the next port.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Bytes of disk to give at most.
    #[arg(long, value_name = "BYTES")]
    cap: Option<u64>,
    /// Bytes of the disk that stay free for you.
    #[arg(long, value_name = "BYTES")]
    reserve: Option<u64>,
    /// Do not announce this agent on the local network.
    #[arg(long)]
    no_announce: bool,
    /// End when standard input ends: for whoever starts agents as child processes.
    #[arg(long, hide = true)]
    end_with_stdin: bool,
}

/// Runs an agent until Ctrl-C. `invitation`: a ticket, or HOST:PORT of an agent to ask.
pub(super) fn up(choice: &AgentChoice, options: &UpOptions, invitation: Option<&String>) -> Result<(), CliError> {
    init_logging();
    let data = choice.data.clone().unwrap_or_else(default_data_directory);
    let overrides = ConfigOverrides {
        name: options.name.clone(),
        dav: options.dav,
        api: api_address(choice)?,
        listen: options.listen,
        cap_bytes: options.cap,
        reserve_bytes: options.reserve,
        announce: options.no_announce.then_some(false),
        roles: None,
    };
    let config = AgentConfig::load(&data, &overrides)?;
    let entry = entry(invitation)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let end_with_stdin = options.end_with_stdin;
    let outcome = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        end_when_asked(shutdown.clone(), end_with_stdin)?;
        run(config, entry, shutdown, tell).await.map_err(CliError::from)
    });
    // A blocked read of standard input must not hold the end up.
    runtime.shutdown_background();
    outcome
}

/// `--api` names an agent's API to other commands; an agent that starts takes it as the address to serve its own at.
fn api_address(choice: &AgentChoice) -> Result<Option<SocketAddr>, CliError> {
    let Some(text) = &choice.api else { return Ok(None) };
    let parsed = text.parse().map_err(|_| CliError::Usage(format!("--api {text}: an agent serves at IP:PORT")));
    parsed.map(Some)
}

fn entry(invitation: Option<&String>) -> Result<Entry, CliError> {
    let Some(invitation) = invitation else {
        let password = std::env::var("SHOAL_ADMIN_PASSWORD").ok().filter(|password| !password.is_empty());
        return Ok(password.map_or(Entry::Usual, |password| Entry::Found { password }));
    };
    if let Ok(ticket) = invitation.parse() {
        return Ok(Entry::Ticket(ticket));
    }
    // Only what has a port can be an address; everything else was meant as a ticket.
    if invitation.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        let addresses: Vec<SocketAddr> =
            invitation.to_socket_addrs().map_err(|error| CliError::Usage(format!("{invitation}: {error}")))?.collect();
        eprintln!("Asking {invitation} to let this agent in; an admin there approves it with `shoal node approve`.");
        return Ok(Entry::Ask { addresses, expected: None });
    }
    invitation.parse().map(Entry::Ticket).map_err(CliError::from)
}

/// Ctrl-C, SIGTERM, or the end of standard input where that was asked for.
fn end_when_asked(shutdown: CancellationToken, end_with_stdin: bool) -> Result<(), CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let of_signals = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        of_signals.cancel();
    });
    if end_with_stdin {
        tokio::spawn(async move {
            let mut buffer = [0; 256];
            while tokio::io::stdin().read(&mut buffer).await.is_ok_and(|length| length > 0) {}
            shutdown.cancel();
        });
    }
    Ok(())
}

/// What a person sees when the agent is up.
fn tell(agent: &AgentContext, first: Option<&FirstStart>) {
    let scheme = |address: SocketAddr| if address.ip().is_loopback() { "http" } else { "https" };
    say!("{} is up ({}).", agent.name(), agent.agent.fingerprint());
    if let Some(dav) = agent.dav_address {
        let volume = agent.drive.as_ref().and_then(|drive| drive.volumes().ok()?.into_iter().next());
        let volume = volume.map_or_else(String::new, |volume| format!("{}/", volume.name));
        say!("  Drive  {}://{}/{volume}", scheme(dav), shown(dav));
    }
    say!("  Page   {}://{}/", scheme(agent.config.api), shown(agent.config.api));
    if let Some(first) = first {
        say!("\nA new pool was made, with the volume {}. Sign in as", first.volume);
        say!("  User      {}", first.user);
        match std::env::var_os("SHOAL_ADMIN_PASSWORD") {
            Some(_) => say!("  Password  (the one given in SHOAL_ADMIN_PASSWORD)"),
            None => say!("  Password  {}   (told only now; change it with `shoal user passwd`)", first.password),
        }
        say!("\nLet more PCs join with `shoal invite`.");
    }
}

/// An address others can type: the computer's name where it listens on all addresses.
fn shown(address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    format!("{}:{}", rustix::system::uname().nodename().to_string_lossy(), address.port())
}

/// What is logged where nobody chose. Consensus tells as an error each attempt to reach an agent that is away, many a second: who is
/// away is what health says once, and when the ledger fails the agent ends and says so.
const LOG_FILTER: &str =
    "info,openraft=error,openraft::replication=off,openraft::core::raft_core=off,libp2p=warn,mdns_sd=error";

/// Logs go to standard error; `RUST_LOG` chooses what, `SHOAL_LOG=json` how.
fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOG_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log that cannot be written (a full disk) must not end the agent, as telling so with `eprintln!` would.
        .log_internal_errors(false);
    let json = std::env::var("SHOAL_LOG").is_ok_and(|value| value == "json");
    // A second logger in one process is refused; the first one stays.
    let _ = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
}
