//! Who answers: what was heard and missed goes in, presence comes out.
//!
//! With hysteresis: a suspect after [`MISSES_TO_SUSPECT`] missed pings (seconds), absent only after the pool's patience,
//! back at once when it is heard. The patience is counted from when an agent was last heard, or from when watching it
//! began; never from what a wall clock says. Every time is one since the start of this agent, on a clock that only goes
//! forward.

mod health;

use std::collections::BTreeMap;
use std::time::Duration;

use dci_proto::AgentId;

use crate::sleep::AWAY_FROM;

pub use health::{AgentHealth, HealthView, Presence, Room, SelfReport};

/// Missed pings in a row that make a suspect. A single one may be a hiccup of either end.
pub const MISSES_TO_SUSPECT: u32 = 3;
/// A suspicion that clears within this time was likely false: the agent was busy, or the one that asked was.
pub const LIKELY_FALSE_WITHIN: Duration = Duration::from_secs(10);
/// An agent silent for this part of the patience is doubtful: what could lose nothing more does not wait for the rest.
const DOUBTFUL_PART: u32 = 6;
/// How long an agent that let someone wait is asked last, though it answers pings.
const AVOIDED_FOR: Duration = Duration::from_secs(1);
/// For this long after this agent itself had been away, a question without an answer says nothing: it was asked before, or
/// over a connection that has yet to be made again.
const UNSURE_FOR: Duration = Duration::from_secs(2);
/// Time between two pings after a missed one.
const PING_AGAIN_AFTER: Duration = Duration::from_millis(300);
/// A member that is away is pinged this many times less often; it says hello itself when it comes back.
const ABSENT_PING_FACTOR: u32 = 5;
/// Pings a second from one agent, at most: with more members each is pinged less often.
const PINGS_PER_SECOND: u32 = 20;
/// No agent is busier than all of it.
const BUSY_LIMIT_PERMILLE: u16 = 1_000;

/// What happens.
#[derive(Debug, Clone)]
pub enum PresenceEvent {
    /// It answered, or asked something itself.
    Heard(AgentId, Option<SelfReport>),
    /// A ping was not answered.
    Missed(AgentId),
    /// It was asked whether it lives because it let someone wait, and did not say so.
    ProbeFailed(AgentId),
    /// It let someone wait.
    LetWait(AgentId),
}

impl PresenceEvent {
    fn agent(&self) -> AgentId {
        match self {
            Self::Heard(agent, _) | Self::Missed(agent) | Self::ProbeFailed(agent) | Self::LetWait(agent) => *agent,
        }
    }
}

/// How patient it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Time between two pings of a member, at least.
    pub ping_interval: Duration,
    /// A suspect is absent after this time.
    pub absent_after: Duration,
}

/// How often agents that had answered were suspected. Counted from the start of this agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Suspicions {
    /// All of them.
    pub total: u64,
    /// Those that cleared within [`LIKELY_FALSE_WITHIN`].
    pub likely_false: u64,
}

#[derive(Debug, Clone, Default)]
struct Member {
    health: AgentHealth,
    /// From when its silence is counted: it was heard, watching it began, or this agent itself had been away.
    silent_from: Duration,
    next_ping: Duration,
    pinging: bool,
    misses: u32,
    avoided_until: Duration,
}

/// What is known of the members, and what to do next about it.
#[derive(Debug)]
pub struct PresenceCore {
    patience: Patience,
    members: BTreeMap<AgentId, Member>,
    suspicions: Suspicions,
    /// When this agent last said that it is awake; `None` if it never does.
    awake_at: Option<Duration>,
    /// Until when questions without an answer say nothing.
    unsure_until: Duration,
}

impl PresenceCore {
    /// Watches nobody yet.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            members: BTreeMap::new(),
            suspicions: Suspicions::default(),
            awake_at: None,
            unsure_until: Duration::ZERO,
        }
    }

    /// Sets who is watched. Newcomers are pinged at once.
    pub fn set_members(&mut self, now: Duration, agents: impl IntoIterator<Item = AgentId>) {
        let mut members = BTreeMap::new();
        for agent in agents {
            let fresh = || Member { silent_from: now, next_ping: now, ..Member::default() };
            members.insert(agent, self.members.remove(&agent).unwrap_or_else(fresh));
        }
        self.members = members;
    }

    /// Sets the grace time. Who is away is judged by the new one at once. True if an agent's presence changed.
    pub fn set_absent_after(&mut self, now: Duration, absent_after: Duration) -> bool {
        if self.patience.absent_after == absent_after {
            return false;
        }
        self.patience.absent_after = absent_after;
        self.begin_anew_if_hung(now);
        let mut changed = false;
        for member in self.members.values_mut() {
            if matches!(member.health.presence, Presence::Suspect | Presence::Absent) {
                changed |= member.lower(now, absent_after);
            }
        }
        changed
    }

    /// This agent slept or hung: what the others did meanwhile it cannot know. All patience begins anew and everyone is
    /// asked at once. Who was absent before stays so until it is heard.
    pub fn begin_anew(&mut self, now: Duration) {
        self.unsure_until = now + UNSURE_FOR;
        for member in self.members.values_mut() {
            member.silent_from = now;
            member.misses = 0;
            member.next_ping = now;
            member.health.unplugged_since = member.health.unplugged_since.map(|_| now);
        }
    }

    /// This agent is awake. From the first time on it must say so every few seconds: where it did not, it hung itself, and
    /// what it missed meanwhile says nothing about anybody else.
    pub fn still_awake(&mut self, now: Duration) {
        self.begin_anew_if_hung(now);
        self.awake_at = Some(now);
    }

    fn begin_anew_if_hung(&mut self, now: Duration) {
        if self.awake_at.is_some_and(|at| now.saturating_sub(at) > AWAY_FROM) {
            self.awake_at = Some(now);
            self.begin_anew(now);
        }
    }

    /// Takes in what happened; true if an agent's presence changed.
    pub fn apply(&mut self, now: Duration, event: PresenceEvent) -> bool {
        self.begin_anew_if_hung(now);
        let interval = self.ping_interval();
        let absent_after = self.patience.absent_after;
        let Some(member) = self.members.get_mut(&event.agent()) else { return false };
        let before = (member.health.presence, member.health.since);
        match event {
            PresenceEvent::Missed(_) if now < self.unsure_until => {
                member.pinging = false;
                member.next_ping = now + PING_AGAIN_AFTER;
            }
            PresenceEvent::ProbeFailed(_) if now < self.unsure_until => {}
            PresenceEvent::Heard(_, report) => member.heard(now, report, interval),
            PresenceEvent::Missed(_) => member.missed(now, interval, absent_after),
            PresenceEvent::ProbeFailed(_) => {
                member.misses = member.misses.max(MISSES_TO_SUSPECT);
                // Who is absent stays so: the failed question says nothing new.
                if before.0 != Presence::Absent {
                    member.lower(now, absent_after);
                }
            }
            PresenceEvent::LetWait(_) => member.avoided_until = now + AVOIDED_FOR,
        }
        let after = member.health.presence;
        self.suspicions.count(now, before, after);
        before.0 != after
    }

    /// Agents that are to be pinged now, at most `limit`; each counts as being pinged until it is heard or missed.
    pub fn due(&mut self, now: Duration, limit: usize) -> Vec<AgentId> {
        let due = self.members.iter_mut().filter(|(_, member)| !member.pinging && member.next_ping <= now);
        due.take(limit)
            .map(|(agent, member)| {
                member.pinging = true;
                *agent
            })
            .collect()
    }

    /// When the next ping is due; `None` while all are under way or nobody is there.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.members.values().filter(|member| !member.pinging).map(|member| member.next_ping).min()
    }

    /// Whether it should be asked last.
    #[must_use]
    pub fn avoided(&self, now: Duration, agent: AgentId) -> bool {
        self.members.get(&agent).is_none_or(|member| !member.health.answers() || now < member.avoided_until)
    }

    /// Whether it has been silent, or its store away, for a good part of the patience.
    #[must_use]
    pub fn doubtful(&self, now: Duration, agent: AgentId) -> bool {
        let enough = self.patience.absent_after / DOUBTFUL_PART;
        let silent = |member: &Member| !member.health.answers() && now.saturating_sub(member.silent_from) >= enough;
        self.members.get(&agent).is_some_and(|member| silent(member) || member.health.unplugged_for(now, enough))
    }

    /// How long an agent that does not answer has been silent; since this agent itself was away, or started, if that was later. `None`:
    /// it answers, is a stranger, or was not asked yet.
    #[must_use]
    pub fn silent_for(&self, now: Duration, agent: AgentId) -> Option<Duration> {
        let member = self.members.get(&agent)?;
        let is_away = matches!(member.health.presence, Presence::Suspect | Presence::Absent);
        is_away.then(|| now.saturating_sub(member.silent_from))
    }

    /// How long an agent may be silent, or its store away, before what it holds is made anew elsewhere.
    #[must_use]
    pub fn absent_after(&self) -> Duration {
        self.patience.absent_after
    }

    /// What is known of everyone.
    #[must_use]
    pub fn view(&self) -> HealthView {
        self.members.iter().map(|(agent, member)| (*agent, member.health.clone())).collect()
    }

    /// What is known of one; `None` of strangers.
    #[must_use]
    pub fn of(&self, agent: AgentId) -> Option<&AgentHealth> {
        self.members.get(&agent).map(|member| &member.health)
    }

    /// How often agents were suspected.
    #[must_use]
    pub fn suspicions(&self) -> Suspicions {
        self.suspicions
    }

    fn ping_interval(&self) -> Duration {
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.patience.ping_interval.max(Duration::from_secs(1) * members / PINGS_PER_SECOND)
    }
}

impl Suspicions {
    fn count(&mut self, now: Duration, (before, since): (Presence, Duration), after: Presence) {
        match (before, after) {
            (Presence::Up, Presence::Suspect | Presence::Absent) => self.total += 1,
            (Presence::Suspect, Presence::Up) if now.saturating_sub(since) <= LIKELY_FALSE_WITHIN => {
                self.likely_false += 1;
            }
            _ => {}
        }
    }
}

impl Member {
    fn heard(&mut self, now: Duration, report: Option<SelfReport>, interval: Duration) {
        self.silent_from = now;
        self.misses = 0;
        self.set_presence(now, Presence::Up);
        // What carries no report does not stand in for a ping: how much room there is must stay known.
        if let Some(report) = report {
            self.next_ping = now + interval;
            self.pinging = false;
            self.health.room = Some(report.room);
            let since = self.health.unplugged_since.unwrap_or(now);
            self.health.unplugged_since = report.room.unplugged.then_some(since);
            self.health.position = report.position;
            self.health.owed_bytes = report.owed_bytes;
            self.health.standing = report.standing.bounded();
            self.health.busy_permille = report.busy_permille.map(|busy| busy.min(BUSY_LIMIT_PERMILLE));
        }
    }

    fn missed(&mut self, now: Duration, interval: Duration, absent_after: Duration) {
        self.pinging = false;
        self.misses = self.misses.saturating_add(1);
        self.next_ping = now + PING_AGAIN_AFTER;
        if self.misses < MISSES_TO_SUSPECT {
            return;
        }
        if self.health.presence == Presence::Absent {
            self.next_ping = now + interval * ABSENT_PING_FACTOR;
        } else {
            self.next_ping = now + interval;
            self.lower(now, absent_after);
        }
    }

    /// Suspect or absent, by how long it has been silent; true if that is new.
    fn lower(&mut self, now: Duration, absent_after: Duration) -> bool {
        let away = now.saturating_sub(self.silent_from) >= absent_after;
        self.set_presence(now, if away { Presence::Absent } else { Presence::Suspect })
    }

    fn set_presence(&mut self, now: Duration, presence: Presence) -> bool {
        let changed = self.health.presence != presence;
        if changed {
            self.health.presence = presence;
            self.health.since = now;
        }
        changed
    }
}

#[cfg(test)]
mod tests;
