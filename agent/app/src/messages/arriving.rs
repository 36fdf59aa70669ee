//! What comes from a neighbour: taken apart, checked, handed to the router. Whoever sends much waits for nobody but itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dci_proto::AgentId;
use dci_proto::message::{Recipient, TTL_LIMIT, decode, signed_bytes};
use dci_proto::router::{Card, Event, Passing, Spread};
use shoal_net::{Response, is_signed_by};

use super::Messages;
use super::frames::{self, Copy, Item};
use super::passed::Passed;
use crate::wire::{self, Status};

/// Requests of one neighbour under way at once; further ones are told to come again.
const UNDER_WAY_LIMIT: usize = 2;
/// How far ahead of this agent's time a message may have been sent: as far as agents may be apart, and a little on its way.
const AHEAD_LIMIT_MS: u64 = super::clock::AHEAD_LIMIT_MS + 10 * 60 * 1_000;

/// A request of a neighbour while it is under way.
struct UnderWay<'a> {
    messages: &'a Messages,
    from: AgentId,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Ok(mut arriving) = self.messages.arriving.lock() else { return };
        if let Some(count) = arriving.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                arriving.remove(&self.from);
            }
        }
    }
}

/// An item that may be handed to the router.
enum Checked {
    Copy { passed: Arc<Passed>, ttl: u8, spread: Spread },
    Raise { passing: Passing, ttl: u8 },
}

impl Messages {
    /// Answers a neighbour that hands over messages: once they are checked and on their way, not once they are dealt with.
    pub(crate) async fn arrive(self: &Arc<Self>, from: AgentId, body: Bytes) -> Response {
        let Some(_under_way) = self.begin(from) else {
            return wire::refusal(Status::Busy, "messages of that neighbour are being dealt with");
        };
        if !self.is_linked(from) {
            return wire::refusal(Status::Refused, "that agent is no neighbour of this one");
        }
        let Ok(_turn) = self.checks.acquire().await else {
            return wire::refusal(Status::NotReady, "this agent is ending");
        };
        let messages = self.clone();
        let checked = tokio::task::spawn_blocking(move || messages.check_all(&body)).await;
        drop(_turn);
        let checked = match checked {
            Ok(Ok(checked)) => checked,
            Ok(Err(error)) => {
                self.refusals.malformed.fetch_add(1, Ordering::Relaxed);
                return wire::refusal(Status::Unknown, &error.to_string());
            }
            Err(error) => return wire::refusal(Status::Failed, &error.to_string()),
        };
        for item in checked {
            match item {
                Checked::Copy { passed, ttl, spread } => {
                    let card = self.card(&passed);
                    // Room for taking it first: what cannot be taken in holds up its neighbour, and fills no memory.
                    if card.mine {
                        drop(self.taking.acquire().await);
                    }
                    self.route(Event::Receive { from, card, ttl, spread }, Some(&passed));
                }
                Checked::Raise { passing, ttl } => self.route(Event::Raised { from, passing, ttl }, None),
            }
        }
        wire::answer(&())
    }

    fn begin(&self, from: AgentId) -> Option<UnderWay<'_>> {
        let mut arriving = self.arriving.lock().ok()?;
        let count = arriving.entry(from).or_insert(0);
        if *count >= UNDER_WAY_LIMIT {
            return None;
        }
        *count += 1;
        Some(UnderWay { messages: self, from })
    }

    /// Whether the router knows it as a neighbour; one that is there and was not seen yet, it knows from now on.
    pub(super) fn is_linked(&self, from: AgentId) -> bool {
        if self.router().neighbours().any(|known| known == from) {
            return true;
        }
        let there = self.is_neighbour(from);
        if there {
            self.link_up(from);
        }
        there
    }

    fn card(&self, passed: &Passed) -> Card {
        let message = &passed.envelope.message;
        let (to, mine) = match &message.to {
            Recipient::Agent(agent) => (Some(*agent), *agent == self.agent),
            Recipient::All => (None, true),
            Recipient::Group(name) => (None, self.groups.read().is_ok_and(|groups| groups.contains(name))),
        };
        Card { passing: passed.passing, to, mine }
    }

    fn check_all(&self, body: &Bytes) -> Result<Vec<Checked>, frames::FrameError> {
        let items = frames::decode(body)?;
        let check = |item| match item {
            Item::Copy(copy) => self.check(copy),
            Item::Raise { passing, ttl } => Some(Checked::Raise { passing, ttl }),
        };
        Ok(items.into_iter().filter_map(check).collect())
    }

    /// A copy that may go on; what may not is counted, and that is the end of it.
    fn check(&self, copy: Copy) -> Option<Checked> {
        let refuse = |counter: &AtomicU64, why: &str| {
            counter.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(why, "a message is refused");
            None
        };
        let Copy { ttl, attempt, spread, not_yet, xml } = copy;
        if ttl == 0 || ttl > TTL_LIMIT {
            return refuse(&self.refusals.hops, "its hops are no number that is sent");
        }
        let mut envelope = match decode(&xml) {
            Ok(envelope) => envelope,
            Err(error) => return refuse(&self.refusals.malformed, &error.to_string()),
        };
        let message = &envelope.message;
        let origin = message.from.agent;
        if !self.members.is_member(origin) {
            return refuse(&self.refusals.stranger, "its agent is no member");
        }
        let now_ms = self.now_ms();
        if message.expires_ms <= now_ms || message.sent_ms > now_ms.saturating_add(AHEAD_LIMIT_MS) {
            return refuse(&self.refusals.out_of_time, "its time is over or has not begun");
        }
        let passing = Passing { origin, id: message.id, attempt };
        // A flood brings a message over many links: what is the same to the byte is signed right.
        let known = self.kept(passing).is_some_and(|kept| kept.xml == xml);
        if !known && !is_signed_by(origin, &signed_bytes(message), &envelope.signature) {
            return refuse(&self.refusals.forged, "its signature is wrong");
        }
        envelope.ttl = ttl - 1;
        let passed = Arc::new(Passed { passing, envelope: Arc::new(envelope), xml, not_yet });
        Some(Checked::Copy { passed, ttl, spread })
    }
}
