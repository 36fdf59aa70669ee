//! Asking many addresses whether an agent is there: names looked up, sockets, the clock, the terminal. What is asked when
//! is decided in [`crate::sweep`].

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use shoal_net::{JoinCaller, name_shown};
use tokio::time::{Instant, sleep_until, timeout};

use super::CliError;
use super::discover::{DiscoverOptions, FoundView};
use super::print::about;
use crate::data_directory::random_secret;
use crate::join::words::{About, Answer, Ask};
use crate::sweep::{Effect, Event, Pace, Places, Plan, Subnet, Sweep, Target};
use crate::wire;

/// How long one address may take, from dialling to its answer: a busy PC in the same house, not one at the end of the world.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);
/// Addresses asked and not heard of, at most: each may hold a socket and an answer of 64 KiB.
const AT_ONCE: usize = 384;
/// How long a name may take to be looked up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses taken of one name.
const ADDRESSES_OF_A_NAME: usize = 4;
/// What takes longer than this says how far it is.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);
/// Time between two words about it.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What came of it.
pub(super) struct Swept {
    /// By pool and name.
    pub(super) found: Vec<FoundView>,
    pub(super) asked: usize,
    pub(super) all: usize,
}

/// Asks them all, or as many as until Ctrl-C.
pub(super) async fn sweep(options: &DiscoverOptions) -> Result<Swept, CliError> {
    let places = Places { own: own_networks(), anywhere: options.anywhere };
    let targets = targets(&options.addresses).await?;
    let plan = Plan::new(&targets, options.port, &places).map_err(|error| CliError::Refused(error.to_string()))?;
    // Who asks proves an identity too; one made for this is nobody's.
    let seed = random_secret()?;
    let caller = JoinCaller::new(&seed).map_err(|error| CliError::Failed(error.to_string()))?;
    let ask = wire::encode(&Ask::Who).map_err(|error| CliError::Failed(error.to_string()))?;
    let pace = Pace { per_second: options.rate, at_once: AT_ONCE, answer_ms: ANSWER_TIMEOUT.as_millis() as u64 };
    Ok(Asking { caller, ask, sweep: Sweep::new(&plan, pace), found: BTreeMap::new(), begun: Instant::now() }
        .run()
        .await)
}

/// The networks of this machine's cards.
fn own_networks() -> Vec<Subnet> {
    let cards = if_addrs::get_if_addrs().unwrap_or_default();
    let network = |card: &if_addrs::Interface| match &card.addr {
        if_addrs::IfAddr::V4(address) => Subnet::of(address.ip.into(), address.prefixlen),
        if_addrs::IfAddr::V6(address) => Subnet::of(address.ip.into(), address.prefixlen),
    };
    cards.iter().filter_map(network).collect()
}

async fn targets(texts: &[String]) -> Result<Vec<Target>, CliError> {
    let mut targets = Vec::new();
    for text in texts {
        match text.parse::<Target>().map_err(|error| CliError::Usage(error.to_string()))? {
            Target::Name(name, port) => {
                let unknown = |reason: &str| CliError::Failed(format!("the address of {name} is not known: {reason}"));
                let looked_up = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name.as_str(), 0))).await;
                let addresses = looked_up.map_err(|_| unknown("nobody says in time"))?;
                let addresses = addresses.map_err(|error| unknown(&error.to_string()))?;
                targets.extend(addresses.take(ADDRESSES_OF_A_NAME).map(|one| Target::Address(one.ip(), port)));
            }
            target => targets.push(target),
        }
    }
    Ok(targets)
}

struct Asking {
    caller: JoinCaller,
    ask: Bytes,
    sweep: Sweep,
    found: BTreeMap<AgentId, (About, Vec<SocketAddr>)>,
    begun: Instant,
}

impl Asking {
    async fn run(mut self) -> Swept {
        let mut line = ProgressLine::new();
        let (caller, question) = (self.caller.clone(), self.ask.clone());
        let mut under_way = FuturesUnordered::new();
        let mut wake = None;
        let mut event = Event::Woken;
        let mut words = tokio::time::interval_at(self.begun + PROGRESS_AFTER, PROGRESS_INTERVAL);
        let mut interrupted = std::pin::pin!(interrupted());
        'asking: loop {
            for effect in self.sweep.handle(self.now_ms(), event) {
                match effect {
                    Effect::Ask(address) => under_way.push(who(&caller, question.clone(), address)),
                    Effect::WakeAt(at_ms) => wake = Some(self.begun + Duration::from_millis(at_ms)),
                    Effect::Done => break 'asking,
                }
            }
            event = loop {
                tokio::select! {
                    Some((address, answered)) = under_way.next() => break self.ended(address, answered),
                    () = sleep_until(wake.unwrap_or(self.begun)), if wake.is_some() => {
                        wake = None;
                        break Event::Woken;
                    }
                    _ = words.tick() => line.show(&self.sweep.progress(self.now_ms())),
                    () = &mut interrupted => break Event::Stop,
                }
            };
        }
        line.clear();
        let progress = self.sweep.progress(self.now_ms());
        Swept { found: self.views(), asked: progress.asked, all: progress.all }
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    fn ended(&mut self, address: SocketAddr, answered: Option<(AgentId, About)>) -> Event {
        let Some((agent, about)) = answered else { return Event::Ended { found: false } };
        let (_, addresses) = self.found.entry(agent).or_insert_with(|| (about, Vec::new()));
        addresses.push(address);
        Event::Ended { found: addresses.len() == 1 }
    }

    fn views(self) -> Vec<FoundView> {
        let view = |(agent, (about, mut addresses)): (AgentId, (About, Vec<SocketAddr>))| {
            addresses.sort();
            FoundView {
                id: agent,
                fingerprint: agent.fingerprint(),
                name: name_shown(&about.name),
                pool_id: Some(about.pool),
                pool: name_shown(&about.pool_name),
                version: name_shown(&about.version),
                control_addresses: Vec::new(),
                data_addresses: addresses,
            }
        };
        let mut views: Vec<FoundView> = self.found.into_iter().map(view).collect();
        views.sort_by(|a, b| (&a.pool, a.pool_id, &a.name).cmp(&(&b.pool, b.pool_id, &b.name)));
        views
    }
}

/// Until Ctrl-C. Where the signal cannot be had, it ends the command as it always does.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Who listens there, if it is an agent that says so.
async fn who(caller: &JoinCaller, ask: Bytes, address: SocketAddr) -> (SocketAddr, Option<(AgentId, About)>) {
    let answered = match caller.ask(address, ask, ANSWER_TIMEOUT).await {
        Ok((agent, answer)) => match wire::decode(&answer) {
            Ok(Answer::Here(about)) => Some((agent, about)),
            Ok(_) | Err(_) => None,
        },
        Err(error) => {
            tracing::debug!(%address, %error, "no agent");
            None
        }
    };
    (address, answered)
}

/// One line of a terminal, written over again and again.
struct ProgressLine {
    /// Whether somebody sees it.
    seen: bool,
    shown: bool,
}

impl ProgressLine {
    fn new() -> Self {
        Self { seen: std::io::stderr().is_terminal(), shown: false }
    }

    fn show(&mut self, progress: &crate::sweep::Progress) {
        if self.seen {
            let left = about(progress.left_ms.div_ceil(1000));
            let (asked, all, found) = (progress.asked, progress.all, progress.found);
            eprint!("\r\x1b[KAsked {asked} of {all} addresses, {found} found, {left} left (Ctrl-C stops)");
            // A terminal that is gone sees no progress.
            let _ = std::io::stderr().flush();
            self.shown = true;
        }
    }

    fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
