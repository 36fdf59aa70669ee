//! Asking how far messages are that their recipients have and have not said to be dealt with.
//!
//! Word of that is sent once, and gets lost where a recipient has no way here just then. Who has a message and is sent it
//! again does nothing but say how far it is; so it is sent again, ever more seldom, until its time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::{AgentId, MessageId};
use shoal_mailbox::{Direction, Observer, Order, Place, Query, RecipientStatus, State};

use super::Messages;
use super::crowd::Crowd;
use super::interests::Interests;

/// After how long is asked first, in ms; twice as long each time.
const FIRST_MS: u64 = 5_000;
/// How often that is doubled: about five minutes.
const DOUBLINGS: u32 = 6;
/// The shortest time between two questions about a message, in ms, however often ways change.
const LEAST_MS: u64 = 1_000;
/// Recipients of all messages that are asked, at most. Further ones are not.
const LIMIT: usize = 65_536;
/// How often it is looked what is due, and how many messages are asked about each time.
const TICK: Duration = Duration::from_millis(500);
const ASKED_A_TICK: usize = 32;
/// Sent messages that are looked through at the start for those to ask about.
const LOOKED_THROUGH: usize = 10_000;

/// What is asked about, and when. Pure.
#[derive(Debug, Default)]
struct Schedule {
    messages: BTreeMap<Place, Unfinished>,
    due: BTreeSet<(u64, Place)>,
    recipients: usize,
}

#[derive(Debug)]
struct Unfinished {
    agents: BTreeSet<AgentId>,
    due_ms: u64,
    asked_ms: Option<u64>,
    rounds: u8,
}

impl Schedule {
    /// A recipient has a message.
    fn delivered(&mut self, now_ms: u64, place: Place, agent: AgentId) {
        if self.recipients >= LIMIT {
            return;
        }
        let due_ms = now_ms + FIRST_MS;
        let unfinished = self.messages.entry(place).or_insert_with(|| {
            self.due.insert((due_ms, place));
            Unfinished { agents: BTreeSet::new(), due_ms, asked_ms: None, rounds: 0 }
        });
        self.recipients += usize::from(unfinished.agents.insert(agent));
    }

    /// Nothing more is to be heard of it from a recipient.
    fn finished(&mut self, place: Place, agent: AgentId) {
        let Some(unfinished) = self.messages.get_mut(&place) else { return };
        self.recipients -= usize::from(unfinished.agents.remove(&agent));
        if unfinished.agents.is_empty() {
            self.forget(place);
        }
    }

    fn forget(&mut self, place: Place) {
        if let Some(unfinished) = self.messages.remove(&place) {
            self.due.remove(&(unfinished.due_ms, place));
            self.recipients -= unfinished.agents.len();
        }
    }

    /// What was told on the way that is no more is lost: all are asked now.
    fn ways_changed(&mut self, now_ms: u64) {
        for (place, unfinished) in &mut self.messages {
            let earliest = unfinished.asked_ms.map_or(now_ms, |asked_ms| now_ms.max(asked_ms + LEAST_MS));
            unfinished.rounds = unfinished.rounds.min(1);
            if earliest < unfinished.due_ms {
                self.due.remove(&(unfinished.due_ms, *place));
                unfinished.due_ms = earliest;
                self.due.insert((earliest, *place));
            }
        }
    }

    /// Who is to be asked about what now; the number tells one question from another.
    fn ask(&mut self, now_ms: u64) -> Vec<(Place, u8, BTreeSet<AgentId>)> {
        let mut asked = Vec::new();
        while asked.len() < ASKED_A_TICK
            && let Some((due_ms, place)) = self.due.first().copied()
            && due_ms <= now_ms
        {
            self.due.remove(&(due_ms, place));
            let Some(unfinished) = self.messages.get_mut(&place) else { continue };
            unfinished.due_ms = now_ms + FIRST_MS * 2u64.pow(u32::from(unfinished.rounds).min(DOUBLINGS));
            unfinished.asked_ms = Some(now_ms);
            unfinished.rounds = unfinished.rounds.saturating_add(1);
            self.due.insert((unfinished.due_ms, place));
            asked.push((place, unfinished.rounds, unfinished.agents.clone()));
        }
        asked
    }
}

/// Hears of every state, for the schedule and for those who wait.
pub(super) struct Asking {
    interests: Arc<Interests>,
    crowd: Arc<Crowd>,
    schedule: Mutex<Schedule>,
    numbers: std::sync::atomic::AtomicU8,
    started: std::time::Instant,
}

impl Asking {
    pub(super) fn new(interests: Arc<Interests>, crowd: Arc<Crowd>) -> Self {
        Self {
            interests,
            crowd,
            schedule: Mutex::default(),
            numbers: std::sync::atomic::AtomicU8::default(),
            started: std::time::Instant::now(),
        }
    }

    /// Neighbours came or went, here or elsewhere.
    pub(super) fn ways_changed(&self) {
        let now_ms = self.steady_ms();
        self.schedule().ways_changed(now_ms);
    }

    fn take(&self, place: Place, recipient: &RecipientStatus) {
        let now_ms = self.steady_ms();
        match &recipient.status.state {
            State::Delivered => self.schedule().delivered(now_ms, place, recipient.agent),
            state if state.is_final() => self.schedule().finished(place, recipient.agent),
            _ => {}
        }
    }

    fn steady_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Asking {
    fn logged(&self, place: Place, direction: Direction, envelope: &dci_proto::message::Envelope) {
        self.interests.logged(place, direction, envelope);
    }

    fn changed(&self, place: Place, id: MessageId, recipient: &RecipientStatus) {
        self.take(place, recipient);
        if recipient.status.state.is_final() {
            self.crowd.done(id);
        }
        self.interests.changed(place, id, recipient);
    }
}

impl Messages {
    /// Asks about what is due, until the end.
    pub(super) async fn ask_how_far_messages_are(self: Arc<Self>) {
        self.remember_what_is_unfinished().await;
        while self.shutdown.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            let now_ms = self.asking.steady_ms();
            let due = self.asking.schedule().ask(now_ms);
            for (place, _, agents) in due {
                self.ask_how_far(place, &agents).await;
            }
        }
    }

    async fn ask_how_far(self: &Arc<Self>, place: Place, agents: &BTreeSet<AgentId>) {
        let entry = match self.mailbox().entry(place).await {
            Ok(Some(entry)) if entry.envelope.message.expires_ms > self.now_ms() => entry,
            // It is told no more where it is too late, and what is dropped from the log is asked about by nobody.
            Ok(_) => return self.asking.schedule().forget(place),
            Err(error) => return tracing::warn!(%error, "a message cannot be asked about"),
        };
        if entry.direction != Direction::Sent {
            return self.asking.schedule().forget(place);
        }
        let others = entry.states.iter().map(|state| state.agent).filter(|agent| !agents.contains(agent)).collect();
        let number = self.asking.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.send_question(entry.envelope, number, agents.contains(&self.agent), others);
    }

    /// After a start: what was sent before and not said to be dealt with.
    async fn remember_what_is_unfinished(&self) {
        let mut query = Query { direction: Some(Direction::Sent), order: Order::NewestFirst, ..Query::default() };
        let mut looked_through = 0;
        while looked_through < LOOKED_THROUGH
            && let Ok(page) = self.mailbox().query(query.clone()).await
        {
            looked_through += page.entries.len().max(1);
            for entry in &page.entries {
                if entry.envelope.message.expires_ms > self.now_ms() {
                    entry.states.iter().for_each(|state| self.asking.take(entry.place, state));
                }
            }
            query.after = page.next;
            if page.next.is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: AgentId = AgentId([1; 32]);
    const BEN: AgentId = AgentId([2; 32]);

    fn places(schedule: &mut Schedule, now_ms: u64) -> Vec<u64> {
        schedule.ask(now_ms).into_iter().map(|(place, ..)| place.0).collect()
    }

    #[test]
    fn who_has_a_message_is_asked_ever_more_seldom_until_it_says_that_it_is_dealt_with() {
        let mut schedule = Schedule::default();
        schedule.delivered(0, Place(1), ANA);
        let times: Vec<u64> = (0..200_000).step_by(500).filter(|now| !places(&mut schedule, *now).is_empty()).collect();
        assert_eq!(times, [5_000, 10_000, 20_000, 40_000, 80_000, 160_000]);
        schedule.finished(Place(1), ANA);
        assert!(schedule.due.is_empty() && schedule.messages.is_empty() && schedule.recipients == 0);
    }

    #[test]
    fn of_a_message_to_many_those_are_asked_who_have_it() {
        let mut schedule = Schedule::default();
        schedule.delivered(0, Place(1), ANA);
        schedule.delivered(0, Place(1), BEN);
        schedule.finished(Place(1), ANA);
        let asked = schedule.ask(FIRST_MS);
        assert_eq!(asked, [(Place(1), 1, BTreeSet::from([BEN]))]);
        schedule.forget(Place(1));
        assert!(schedule.due.is_empty() && schedule.recipients == 0);
    }

    #[test]
    fn when_ways_change_all_are_asked_at_once_though_no_more_than_each_second() {
        let mut schedule = Schedule::default();
        schedule.delivered(0, Place(1), ANA);
        schedule.ways_changed(10);
        assert_eq!(places(&mut schedule, 10), [1]);
        schedule.ways_changed(20);
        assert!(places(&mut schedule, 900).is_empty());
        assert_eq!(places(&mut schedule, 10 + LEAST_MS), [1]);
    }

    #[test]
    fn no_more_are_asked_than_is_allowed() {
        let mut schedule = Schedule::default();
        for place in 0..LIMIT as u64 + 5 {
            schedule.delivered(0, Place(place), ANA);
        }
        assert_eq!((schedule.recipients, schedule.messages.len()), (LIMIT, LIMIT));
        assert_eq!(places(&mut schedule, FIRST_MS).len(), ASKED_A_TICK);
        assert_eq!(places(&mut schedule, FIRST_MS)[0], ASKED_A_TICK as u64, "others have their turn");
    }
}
