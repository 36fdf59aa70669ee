//! The directory as this agent has it: who offers what. What decides is `dci_proto::directory`; here it is told who is there
//! and what is installed, its words go to neighbours, and signatures are checked.

mod post;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dci_proto::directory::{
    Directory, DirectoryLimits, DirectoryMessage, Effect, Event, Offer, PeerletMode, PeerletOffer, SignedOffer,
    offer_message,
};
use dci_proto::message::{Envelope, MessageError, SIGNATURE_BYTES, signed_bytes};
use dci_proto::{AgentId, MessageId};
use shoal_net::{Network, Response, is_signed_by};
use shoal_peerlets::manifest::{Manifest, Mode};
use tokio::sync::{Notify, Semaphore};

use super::Messages;
use crate::health::Presence;
use crate::wire::{self, Status};
use post::Posts;

/// How often it is looked what is installed and who is a member, besides whenever something is heard.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Bytes of a word of a neighbour, at most: the offers of one message, and one of the largest.
const WORD_LIMIT_BYTES: usize = 256 * 1024;
/// Words taken in at once, of all neighbours: each may have many signatures to check.
const HEARD_AT_ONCE: usize = 2;

/// The directory and what goes with it.
pub(super) struct DirectoryDesk {
    core: Mutex<Directory>,
    posts: Posts,
    /// Something happened: the core may want to know the time sooner, or what is installed has changed.
    look: Notify,
    /// Others have an offer of this agent that it does not know.
    reissue: AtomicBool,
    turns: Semaphore,
    /// Neighbours whose word is being taken in: one of each at a time.
    hearing: Mutex<BTreeSet<AgentId>>,
    /// Offers that were refused: not signed by whom they are of, by no member, or no offers.
    refused: AtomicU64,
}

/// What is known of a member.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) agent: AgentId,
    /// Whether it answers now.
    pub(crate) online: bool,
    /// How busy its processors are, 0 to 1000; `None`: it does not answer or does not tell.
    pub(crate) busy_permille: Option<u16>,
    /// What it offers; `None`: nothing was heard of it yet.
    pub(crate) offer: Option<Offer>,
}

/// A neighbour whose word is being taken in.
struct Hearing<'a> {
    desk: &'a DirectoryDesk,
    from: AgentId,
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        self.desk.hearing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.from);
    }
}

impl DirectoryDesk {
    pub(super) fn new(agent: AgentId, network: Arc<dyn Network>) -> Self {
        Self {
            core: Mutex::new(Directory::new(agent, DirectoryLimits::default())),
            posts: Posts::new(network),
            look: Notify::new(),
            reissue: AtomicBool::new(false),
            turns: Semaphore::new(HEARD_AT_ONCE),
            hearing: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    fn core(&self) -> MutexGuard<'_, Directory> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the core what happened, and does what it says.
    fn happens(&self, now_ms: u64, event: Event) {
        let mut core = self.core();
        // Under the lock, so that words to one neighbour keep their order.
        for effect in core.handle(now_ms, event) {
            match effect {
                Effect::Send { to, message } => self.posts.give(to, message),
                Effect::Reissue { .. } => self.reissue.store(true, Ordering::Relaxed),
            }
        }
    }

    fn begin(&self, from: AgentId) -> Option<Hearing<'_>> {
        let mut hearing = self.hearing.lock().unwrap_or_else(PoisonError::into_inner);
        // Made only where it is taken: one that is dropped here would wait for the very lock that is held.
        hearing.insert(from).then(|| Hearing { desk: self, from })
    }
}

impl Messages {
    /// Keeps the directory: says what this agent offers whenever that changes, and lets time pass.
    pub(super) async fn keep_directory(self: Arc<Self>) {
        let (mut offered, mut members) = (None, BTreeSet::new());
        loop {
            let now: BTreeSet<AgentId> = self.members.all().into_iter().collect();
            if now != members {
                members.clone_from(&now);
                self.directory.happens(self.steady_ms(), Event::Members(now));
            }
            let offer = Offer::new(env!("CARGO_PKG_VERSION"), self.peerlets.manifests().iter().map(offer_of));
            let again = self.directory.reissue.swap(false, Ordering::Relaxed);
            if again || offered.as_ref() != Some(&offer) {
                match self.signed(&offer) {
                    Ok(signed) => {
                        self.directory.happens(self.steady_ms(), Event::OwnChanged(signed));
                        offered = Some(offer);
                    }
                    Err(error) => tracing::error!(%error, "what this agent offers cannot be told to others"),
                }
            }
            self.directory.happens(self.steady_ms(), Event::Tick);
            let due_ms = self.directory.core().due_ms();
            let until_due = due_ms.map(|due_ms| Duration::from_millis(due_ms.saturating_sub(self.steady_ms())));
            let wait = async {
                tokio::select! {
                    () = self.directory.look.notified() => {}
                    () = tokio::time::sleep(until_due.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)) => {}
                }
            };
            if self.shutdown.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    /// What an agent of the pool offers, of all members, as far as it is known here. Reads each offer's XML.
    pub(crate) fn directory(&self) -> Vec<Listed> {
        let known: Vec<SignedOffer> = self.directory.core().iter().cloned().collect();
        let offer = |agent: AgentId| known.iter().find(|offer| offer.agent() == agent).map(SignedOffer::offer);
        let online = |agent| agent == self.agent || self.health.view_of(agent).presence == Presence::Up;
        let members = self.members.all().into_iter();
        let listed = |agent| {
            let busy_permille = self.health.busy_permille_of(agent);
            Listed { agent, online: online(agent), busy_permille, offer: offer(agent) }
        };
        members.map(listed).collect()
    }

    /// What is installed has changed.
    pub(crate) fn look_at_peerlets(&self) {
        self.directory.look.notify_one();
    }

    /// Offers known, versions noted to be asked for, and offers refused since the start.
    pub(crate) fn directory_sizes(&self) -> (usize, usize, u64) {
        let (known, noted) = self.directory.core().table_sizes();
        (known, noted, self.directory.refused.load(Ordering::Relaxed))
    }

    pub(super) fn directory_link_up(&self, agent: AgentId) {
        self.directory.posts.begin(agent);
        self.directory_happens(Event::LinkUp(agent));
    }

    pub(super) fn directory_link_down(&self, agent: AgentId) {
        self.directory_happens(Event::LinkDown(agent));
        self.directory.posts.end(agent);
    }

    pub(super) fn directory_happens(&self, event: Event) {
        self.directory.happens(self.steady_ms(), event);
        self.directory.look.notify_one();
    }

    /// Answers a neighbour that says something of the directory, once it is taken in.
    pub(crate) async fn hear(self: &Arc<Self>, from: AgentId, body: Bytes) -> Response {
        if body.len() > WORD_LIMIT_BYTES {
            return wire::refusal(Status::Refused, "a word of the directory has at most 256 KiB");
        }
        let Some(_hearing) = self.directory.begin(from) else {
            return wire::refusal(Status::Busy, "another word of that neighbour is being taken in");
        };
        if !self.is_linked(from) {
            return wire::refusal(Status::Refused, "that agent is no neighbour of this one");
        }
        let Ok(_turn) = self.directory.turns.acquire().await else {
            return wire::refusal(Status::NotReady, "this agent is ending");
        };
        let messages = self.clone();
        match tokio::task::spawn_blocking(move || messages.take_in(from, &body)).await {
            Ok(true) => wire::answer(&()),
            Ok(false) => wire::refusal(Status::Unknown, "a word of the directory does not decode"),
            Err(error) => wire::refusal(Status::Failed, &error.to_string()),
        }
    }

    fn take_in(&self, from: AgentId, body: &[u8]) -> bool {
        let Ok(message) = postcard::from_bytes::<DirectoryMessage>(body) else { return false };
        let event = match message {
            DirectoryMessage::Offers { offers, answer } => {
                let offers = offers.into_iter().filter_map(|envelope| self.checked(envelope)).collect();
                Event::Received { from, offers, answer }
            }
            message => Event::Message { from, message },
        };
        self.directory_happens(event);
        true
    }

    /// An offer that may be taken in; what is known already is not looked at.
    fn checked(&self, envelope: Arc<Envelope>) -> Option<SignedOffer> {
        let refuse = |why: &str| {
            self.directory.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(why, "an offer is refused");
            None
        };
        let origin = envelope.message.from.agent;
        if !self.members.is_member(origin) {
            return refuse("its agent is no member");
        }
        let offer = match SignedOffer::of(envelope) {
            Ok(offer) => offer,
            Err(error) => return refuse(&error.to_string()),
        };
        if !self.directory.core().lacks(&offer) {
            return None;
        }
        let envelope = offer.envelope();
        if !is_signed_by(origin, &signed_bytes(&envelope.message), &envelope.signature) {
            return refuse("its signature is wrong");
        }
        Some(offer)
    }

    fn signed(&self, offer: &Offer) -> Result<SignedOffer, MessageError> {
        let sequence = self.directory.core().next_sequence(self.now_ms());
        let id = MessageId(*uuid::Uuid::now_v7().as_bytes());
        let message = offer_message(id, self.agent, sequence, offer)?;
        let signed = self.signer.sign(&signed_bytes(&message)).ok();
        let signature = signed.and_then(|bytes| <[u8; SIGNATURE_BYTES]>::try_from(bytes).ok());
        let signature = signature.ok_or_else(|| MessageError::Schema("the agent's key does not sign".to_owned()))?;
        SignedOffer::of(Arc::new(Envelope { message, ttl: 0, signature }))
    }
}

/// An installed peerlet, as others are told of it.
fn offer_of(manifest: &Manifest) -> PeerletOffer {
    PeerletOffer {
        kind: manifest.kind.clone(),
        version: manifest.version.to_string(),
        mode: match manifest.mode {
            Mode::Oneshot => PeerletMode::Oneshot,
            Mode::Session => PeerletMode::Session,
            Mode::Service => PeerletMode::Service,
        },
        description: manifest.description.clone(),
        executes: manifest.rights.executes,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use shoal_net::MemoryHub;

    use super::*;
    use crate::handler::AgentHandler;

    /// How long two words may take to be told apart.
    const DEADLINE: Duration = Duration::from_secs(10);

    #[test]
    fn a_neighbours_second_word_is_turned_away_and_holds_nothing_up() {
        let (own, one, other) = (AgentId([1; 32]), AgentId([2; 32]), AgentId([3; 32]));
        let network = MemoryHub::new(1).join(own, Arc::new(AgentHandler::default()));
        let desk = DirectoryDesk::new(own, network);
        let (told, begun) = mpsc::channel();
        // Apart, so that a desk that waits for itself fails this test and does not hang it.
        std::thread::spawn(move || {
            let first = desk.begin(one);
            let beside = (first.is_some(), desk.begin(one).is_some(), desk.begin(other).is_some());
            drop(first);
            let _ = told.send((beside, desk.begin(one).is_some()));
        });
        let begun = begun.recv_timeout(DEADLINE).expect("a second word of a neighbour stops the directory");
        assert_eq!(begun, ((true, false, true), true));
    }
}
