//! What a message to a oneshot takes beyond starting its program: `cargo run -p shoal-peerlets --example overhead`.
//!
//! Starts `true` by itself and by way of a host, one after the other and in turn, and prints the medians; then how long a message
//! to a service that runs, `cat`, takes to come back.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dci_proto::message::{Body, Envelope, Message, Recipient, SIGNATURE_BYTES, Sender};
use dci_proto::{AgentId, MessageId};
use shoal_peerlets::core::Verdict;
use shoal_peerlets::{Host, HostConfig, LauncherProgram};

const SERVICE: &str =
    "type = \"cat\"\nversion = \"1.0.0\"\ndescription = \"says it again\"\ncommand = [\"cat\"]\nmode = \"service\"\n";
/// How often each is measured.
const ROUNDS: u32 = 200;
/// Rounds before it counts.
const WARMING: u32 = 20;
const MANIFEST: &str =
    "type = \"true\"\nversion = \"1.0.0\"\ndescription = \"does nothing\"\ncommand = [\"true\"]\nmode = \"oneshot\"\n";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let launcher = std::env::current_exe()?;
    let launcher = launcher.parent().and_then(Path::parent).map(|folder| folder.join("shoal-peerlet-launcher"));
    let program =
        launcher.filter(|path| path.exists()).ok_or("build the launcher first: cargo build -p shoal-peerlets")?;
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let launcher = LauncherProgram { program, words: Vec::new() };
    let config = HostConfig::new(&folder.path().join("installed"), &folder.path().join("runtime"), launcher);
    let host = Host::start(config).await?;
    for (kind, manifest) in [("true", MANIFEST), ("cat", SERVICE)] {
        let source = folder.path().join(kind);
        std::fs::create_dir(&source)?;
        std::fs::write(source.join("peerlet.toml"), manifest)?;
        host.add(&source).await?;
    }
    let (mut bare, mut hosted, mut served) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS + WARMING {
        let began = Instant::now();
        tokio::process::Command::new("true").status().await?;
        let alone = began.elapsed();
        let began = Instant::now();
        let (_, verdict) = host.deliver(Arc::new(message("true", round)?)).await?.all().await;
        let through = began.elapsed();
        if !matches!(verdict, Verdict::Handled { status: 0, .. }) {
            return Err(format!("it was not handled: {verdict:?}").into());
        }
        if round >= WARMING {
            bare.push(alone);
            hosted.push(through);
        }
    }
    for round in 0..ROUNDS + WARMING {
        let began = Instant::now();
        host.deliver(Arc::new(message("cat", round)?)).await?.all().await;
        if round >= WARMING {
            served.push(began.elapsed());
        }
    }
    host.shutdown().await;
    let (alone, through, service) = (spread(&mut bare), spread(&mut hosted), spread(&mut served));
    println!("by itself: median {:.1} ms, p99 {:.1} ms", ms(alone.0), ms(alone.1));
    println!("as a peerlet: median {:.1} ms, p99 {:.1} ms", ms(through.0), ms(through.1));
    println!("from a service: median {:.2} ms, p99 {:.2} ms", ms(service.0), ms(service.1));
    println!("over the program's own: {:.1} ms", ms(through.0.saturating_sub(alone.0)));
    Ok(())
}

fn message(kind: &str, round: u32) -> Result<Envelope, Box<dyn Error>> {
    let sent_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let message = Message {
        id: MessageId(u128::from(round).to_be_bytes()),
        kind: kind.parse()?,
        session: None,
        sent_ms,
        expires_ms: sent_ms + 60_000,
        from: Sender { agent: AgentId([1; 32]), user: None, session: None },
        to: Recipient::Agent(AgentId([2; 32])),
        in_reply_to: None,
        replay_of: None,
        body: Body::of_text("go")?,
    };
    Ok(Envelope { message, ttl: 9, signature: [0; SIGNATURE_BYTES] })
}

/// The median and the 99th percentile.
fn spread(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    (at(50), at(99))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
