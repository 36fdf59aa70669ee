//! What this agent sent and nobody has acknowledged: what is due when, and what must wait for what.
//!
//! A sending is of a message, not of a recipient: a message to many is one flood for all of them, and its attempt number
//! counts floods, so that routers tell one from the next. Each sending says for whom it is; those whose turn has not
//! come (an earlier message of the session is still on its way to them) are named too, and must not take it yet.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::{AgentId, SessionId};

use super::backoff::{LEAST_MS, wait_ms};
use super::lane::Lane;
use super::{Attempts, Limits, Now, Place};

/// Recipients that expire in one step, about; more follow in the next.
const EXPIRE_STEP: usize = 1_024;

/// A message that waits for some of its recipients.
#[derive(Debug, Clone)]
struct Letter {
    session: Option<SessionId>,
    expires_ms: u64,
    attempts: Attempts,
    /// Who has not answered; with how it stands where it is on the way.
    recipients: BTreeMap<AgentId, Option<OnTheWay>>,
}

/// A message on its way to a recipient.
#[derive(Debug, Clone, Copy)]
struct OnTheWay {
    due_ms: u64,
    /// When it was sent last, by the steady clock.
    sent_ms: Option<u64>,
    /// Sendings since the recipient was last seen.
    sendings: u32,
}

/// One sending of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sendable {
    /// Which message.
    pub(crate) place: Place,
    /// How often it was sent before; the number stays at its end.
    pub(crate) attempt: u8,
    /// How often it was sent, this one counted.
    pub(crate) attempts: u32,
    /// For whom.
    pub(crate) recipients: Vec<AgentId>,
    /// Who waits for it but must not take it yet.
    pub(crate) not_yet: Vec<AgentId>,
    /// The rows must tell of it before it goes out.
    pub(crate) to_note: bool,
}

/// All that waits to be acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    limits: Limits,
    letters: BTreeMap<Place, Letter>,
    lanes: BTreeMap<AgentId, Lane>,
    timers: BTreeSet<(u64, Place, AgentId)>,
    expiries: BTreeSet<(u64, Place)>,
    waiting: usize,
}

impl Outbox {
    pub(crate) fn new(limits: Limits) -> Self {
        let (letters, lanes, timers, expiries) = Default::default();
        Self { limits, letters, lanes, timers, expiries, waiting: 0 }
    }

    /// Recipients that wait for a message, or wait for it too.
    pub(crate) fn add(
        &mut self,
        now: Now,
        place: Place,
        (session, expires_ms, attempts): (Option<SessionId>, u64, Attempts),
        recipients: impl IntoIterator<Item = AgentId>,
    ) {
        for agent in recipients {
            let letter = self.letters.entry(place).or_insert_with(|| {
                self.expiries.insert((expires_ms, place));
                Letter { session, expires_ms, attempts, recipients: BTreeMap::new() }
            });
            letter.attempts.made = letter.attempts.made.max(attempts.made);
            letter.attempts.noted = letter.attempts.noted.max(attempts.noted);
            if letter.recipients.contains_key(&agent) {
                continue;
            }
            letter.recipients.insert(agent, None);
            self.waiting += 1;
            let demoted = self.lanes.entry(agent).or_default().add(place, session);
            if let Some(demoted) = demoted {
                self.stop_timer(demoted, agent);
            }
            self.admit(now, agent);
        }
    }

    /// A recipient answered; it waits for this message no more.
    pub(crate) fn answered(&mut self, now: Now, place: Place, agent: AgentId) {
        if let Some(lane) = self.lanes.get_mut(&agent) {
            lane.unanswered = 0;
        }
        self.take_out(now, place, agent);
    }

    /// A recipient was seen: what is on the way to it is sent again, though nothing more often than each second.
    pub(crate) fn seen(&mut self, now: Now, agent: AgentId) {
        let Some(lane) = self.lanes.get_mut(&agent) else { return };
        lane.unanswered = 0;
        for place in lane.open.clone() {
            let Some(Some(way)) = self.letters.get_mut(&place).and_then(|letter| letter.recipients.get_mut(&agent))
            else {
                continue;
            };
            let earliest = way.sent_ms.map_or(now.steady_ms, |sent_ms| now.steady_ms.max(sent_ms + LEAST_MS));
            way.sendings = 0;
            if earliest < way.due_ms {
                self.timers.remove(&(way.due_ms, place, agent));
                way.due_ms = earliest;
                self.timers.insert((earliest, place, agent));
            }
        }
        self.admit(now, agent);
    }

    /// Takes out what has expired: for whom, and whether more is left for the next step.
    pub(crate) fn expire(&mut self, now: Now) -> Vec<(Place, AgentId)> {
        let mut expired = Vec::new();
        while expired.len() < EXPIRE_STEP {
            let Some((_, place)) = self.expiries.first().copied().filter(|first| first.0 <= now.wall_ms) else { break };
            let Some(letter) = self.letters.get(&place) else { break };
            let agents: Vec<AgentId> = letter.recipients.keys().copied().take(EXPIRE_STEP).collect();
            for agent in agents {
                self.take_out(now, place, agent);
                expired.push((place, agent));
            }
        }
        expired
    }

    /// What is due to be sent, at most so many; each counts as sent now. Nothing that has expired is among it.
    pub(crate) fn due(&mut self, now: Now, limit: usize) -> Vec<Sendable> {
        let mut due = Vec::new();
        while due.len() < limit {
            let Some((due_ms, place, agent)) = self.timers.first().copied() else { break };
            if due_ms > now.steady_ms {
                break;
            }
            let expired = self.letters.get(&place).is_none_or(|letter| letter.expires_ms <= now.wall_ms);
            let probe = self
                .lanes
                .get(&agent)
                .is_some_and(|lane| !lane.is_silent(&self.limits) || lane.is_probe(place, &self.limits));
            if expired || !probe {
                // What has expired is taken out by the next steps; what is parked goes when its recipient answers.
                self.stop_timer(place, agent);
                if !expired && let Some(lane) = self.lanes.get_mut(&agent) {
                    lane.park(place);
                }
                continue;
            }
            due.extend(self.send(now, place));
        }
        due
    }

    /// One sending for all recipients to whom the message is on its way.
    fn send(&mut self, now: Now, place: Place) -> Option<Sendable> {
        let letter = self.letters.get_mut(&place)?;
        let (mut recipients, mut not_yet) = (Vec::new(), Vec::new());
        for (agent, way) in &mut letter.recipients {
            let Some(way) = way else {
                not_yet.push(*agent);
                continue;
            };
            recipients.push(*agent);
            self.timers.remove(&(way.due_ms, place, *agent));
            let again = way.sendings > 0;
            way.sendings = way.sendings.saturating_add(1);
            way.sent_ms = Some(now.steady_ms);
            way.due_ms = now.steady_ms + wait_ms(way.sendings);
            self.timers.insert((way.due_ms, place, *agent));
            if let Some(lane) = self.lanes.get_mut(agent).filter(|_| again) {
                lane.unanswered = lane.unanswered.saturating_add(1);
            }
        }
        let attempt = u8::try_from(letter.attempts.made).unwrap_or(u8::MAX);
        let attempts = letter.attempts.made.saturating_add(1);
        let to_note = attempts > letter.attempts.noted;
        letter.attempts = Attempts { made: attempts, noted: attempts.max(letter.attempts.noted) };
        Some(Sendable { place, attempt, attempts, recipients, not_yet, to_note })
    }

    /// How long from now until something is due by itself, in ms.
    pub(crate) fn idle_ms(&self, now: Now) -> Option<u64> {
        let timer = self.timers.first().map(|first| first.0.saturating_sub(now.steady_ms));
        let expiry = self.expiries.first().map(|first| first.0.saturating_sub(now.wall_ms));
        timer.into_iter().chain(expiry).min()
    }

    /// Whether a message to a recipient would be sent at once.
    pub(crate) fn is_free(&self, agent: AgentId, session: Option<SessionId>) -> bool {
        self.lanes.get(&agent).is_none_or(|lane| lane.is_free(session, &self.limits))
    }

    /// The message that may go to a recipient when this one is answered, if it was never sent.
    pub(crate) fn behind(&self, place: Place, agent: AgentId) -> Option<Place> {
        let behind = self.lanes.get(&agent)?.behind(place, self.letters.get(&place)?.session?)?;
        self.letters.get(&behind).filter(|letter| letter.attempts.noted == 0).map(|_| behind)
    }

    /// The rows allow for a first sending of a message.
    pub(crate) fn note_first(&mut self, place: Place) {
        if let Some(letter) = self.letters.get_mut(&place) {
            letter.attempts.noted = letter.attempts.noted.max(1);
        }
    }

    /// The rows tell of so many sendings.
    pub(crate) fn note_attempts(&mut self, place: Place, attempts: u32) {
        if let Some(letter) = self.letters.get_mut(&place) {
            let attempts = attempts.max(letter.attempts.made);
            letter.attempts = Attempts { made: attempts, noted: attempts };
        }
    }

    /// Whether a message is on its way to a recipient: it has not answered, and nothing must go before.
    pub(crate) fn is_on_the_way(&self, place: Place, agent: AgentId) -> bool {
        self.letters.get(&place).is_some_and(|letter| letter.recipients.get(&agent).is_some_and(Option::is_some))
    }

    /// Whether somebody waits for a message.
    pub(crate) fn has(&self, place: Place) -> bool {
        self.letters.contains_key(&place)
    }

    /// How many wait, each recipient of each message counted.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    fn admit(&mut self, now: Now, agent: AgentId) {
        let Some(lane) = self.lanes.get_mut(&agent) else { return };
        while let Some(place) = lane.admit(&self.limits) {
            let Some(letter) = self.letters.get_mut(&place) else { continue };
            let way = OnTheWay { due_ms: now.steady_ms, sent_ms: None, sendings: 0 };
            letter.recipients.insert(agent, Some(way));
            self.timers.insert((way.due_ms, place, agent));
        }
    }

    fn stop_timer(&mut self, place: Place, agent: AgentId) {
        if let Some(way) = self.letters.get_mut(&place).and_then(|letter| letter.recipients.get_mut(&agent))
            && let Some(way) = way.take()
        {
            self.timers.remove(&(way.due_ms, place, agent));
        }
    }

    fn take_out(&mut self, now: Now, place: Place, agent: AgentId) {
        self.stop_timer(place, agent);
        let Some(letter) = self.letters.get_mut(&place) else { return };
        if letter.recipients.remove(&agent).is_none() {
            return;
        }
        self.waiting -= 1;
        let session = letter.session;
        if letter.recipients.is_empty() {
            self.expiries.remove(&(letter.expires_ms, place));
            self.letters.remove(&place);
        }
        if let Some(lane) = self.lanes.get_mut(&agent) {
            lane.remove(place, session);
            if lane.is_empty() {
                self.lanes.remove(&agent);
            }
        }
        self.admit(now, agent);
    }
}

#[cfg(test)]
impl Outbox {
    /// Says what does not fit together.
    pub(super) fn validate(&self) {
        let ways = |(place, letter): (&Place, &Letter)| {
            let way = |(agent, way): (&AgentId, &Option<OnTheWay>)| way.map(|way| (way.due_ms, *place, *agent));
            letter.recipients.iter().filter_map(way).collect::<Vec<_>>()
        };
        let timers: BTreeSet<_> = self.letters.iter().flat_map(ways).collect();
        assert_eq!(timers, self.timers, "each message on its way has its timer");
        let expiries: BTreeSet<_> = self.letters.iter().map(|(place, letter)| (letter.expires_ms, *place)).collect();
        assert_eq!(expiries, self.expiries);
        let waiting: usize = self.letters.values().map(|letter| letter.recipients.len()).sum();
        assert_eq!(waiting, self.waiting);
        assert!(self.letters.values().all(|letter| !letter.recipients.is_empty()));
        for (agent, lane) in &self.lanes {
            assert!(!lane.is_empty() && lane.open.len() <= self.limits.on_the_way, "{agent}");
            let mut first_of = BTreeMap::new();
            for (place, letter) in self.letters.iter().filter(|(_, letter)| letter.recipients.contains_key(agent)) {
                let first = letter.session.is_none_or(|session| *first_of.entry(session).or_insert(*place) == *place);
                let open = letter.recipients.get(agent).is_some_and(Option::is_some);
                assert!(first || !open, "only the first of a session is on its way");
                assert!(!open || lane.open.contains(place));
            }
        }
    }
}
