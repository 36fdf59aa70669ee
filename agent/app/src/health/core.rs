//! Who answers: what was heard and missed goes in, presence comes out. Pure; the time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use dci_proto::AgentId;
use shoal_store::StoreSpace;

/// Missed pings in a row that make a suspect. A single one may be a hiccup of either end.
const MISSES_TO_SUSPECT: u32 = 3;
/// How long an agent that let someone wait is asked last, though it answers pings.
const AVOIDED_FOR: Duration = Duration::from_secs(1);
/// Time between two pings after a missed one.
const PING_AGAIN_AFTER: Duration = Duration::from_millis(300);
/// A member that is away is pinged this many times less often; it says hello itself when it comes back.
const ABSENT_PING_FACTOR: u32 = 5;
/// Pings a second from one agent, at most: with more members each is pinged less often.
const PINGS_PER_SECOND: u32 = 20;

/// Whether an agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// It does.
    Up,
    /// It has not for seconds.
    Suspect,
    /// It has not for longer than the grace time.
    Absent,
    /// It has not been heard since this agent started or it became a member.
    #[default]
    Unheard,
}

/// What an agent says of itself with every ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct SelfReport {
    /// How far its copy of the ledger is; 0 without one.
    pub position: u64,
    /// What its store has room for; zeros without one.
    pub space: StoreSpace,
}

/// What is known of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentHealth {
    /// Whether it answers.
    pub presence: Presence,
    /// What its store has room for, once it said so.
    pub space: Option<StoreSpace>,
    /// How far its copy of the ledger is, as it last said.
    pub position: u64,
    /// Since when its presence is what it is, from the start of this agent.
    pub since: Duration,
}

impl AgentHealth {
    /// Whether it answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.presence == Presence::Up
    }
}

/// What is known of all members but this agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthView {
    agents: BTreeMap<AgentId, AgentHealth>,
}

impl HealthView {
    /// What is known of an agent; [`Presence::Unheard`] of strangers.
    #[must_use]
    pub fn of(&self, agent: AgentId) -> AgentHealth {
        self.agents.get(&agent).copied().unwrap_or_default()
    }

    /// All that are known of.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, AgentHealth)> {
        self.agents.iter().map(|(agent, health)| (*agent, *health))
    }
}

impl FromIterator<(AgentId, AgentHealth)> for HealthView {
    fn from_iter<I: IntoIterator<Item = (AgentId, AgentHealth)>>(agents: I) -> Self {
        Self { agents: agents.into_iter().collect() }
    }
}

/// What happens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// It answered, or asked something itself.
    Heard(AgentId, Option<SelfReport>),
    /// A ping was not answered.
    Missed(AgentId),
    /// It was asked whether it lives because it let someone wait, and did not say so.
    ProbeFailed(AgentId),
    /// It let someone wait.
    LetWait(AgentId),
}

#[derive(Debug, Clone, Copy, Default)]
struct Member {
    health: AgentHealth,
    last_heard: Duration,
    next_ping: Duration,
    pinging: bool,
    misses: u32,
    avoided_until: Duration,
}

/// How patient it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) ping_interval: Duration,
    pub(crate) absent_after: Duration,
}

/// The state of it all.
#[derive(Debug)]
pub(crate) struct HealthCore {
    patience: Patience,
    members: BTreeMap<AgentId, Member>,
}

impl HealthCore {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, members: BTreeMap::new() }
    }

    /// Sets who is watched. Newcomers are pinged at once.
    pub(crate) fn set_members(&mut self, now: Duration, agents: impl IntoIterator<Item = AgentId>) {
        let mut members = BTreeMap::new();
        for agent in agents {
            let fresh = Member { last_heard: now, next_ping: now, ..Member::default() };
            members.insert(agent, self.members.get(&agent).copied().unwrap_or(fresh));
        }
        self.members = members;
    }

    /// Takes in what happened; true if an agent's presence changed.
    pub(crate) fn apply(&mut self, now: Duration, event: Event) -> bool {
        let interval = self.ping_interval();
        let absent_after = self.patience.absent_after;
        let (Event::Heard(agent, _) | Event::Missed(agent) | Event::ProbeFailed(agent) | Event::LetWait(agent)) = event;
        let Some(member) = self.members.get_mut(&agent) else { return false };
        let before = member.health.presence;
        match event {
            Event::Heard(_, report) => {
                member.last_heard = now;
                member.misses = 0;
                member.set_presence(now, Presence::Up);
                // What carries no report does not stand in for a ping: how much room there is must stay known.
                if let Some(report) = report {
                    member.next_ping = now + interval;
                    member.pinging = false;
                    member.health.space = Some(report.space);
                    member.health.position = report.position;
                }
            }
            Event::Missed(_) => {
                member.pinging = false;
                member.misses = member.misses.saturating_add(1);
                member.next_ping = now + PING_AGAIN_AFTER;
                if member.misses >= MISSES_TO_SUSPECT {
                    let factor = if before == Presence::Absent { ABSENT_PING_FACTOR } else { 1 };
                    member.next_ping = now + interval * factor;
                    member.lower(now, absent_after);
                }
            }
            Event::ProbeFailed(_) => {
                member.misses = member.misses.max(MISSES_TO_SUSPECT);
                member.lower(now, absent_after);
            }
            Event::LetWait(_) => member.avoided_until = now + AVOIDED_FOR,
        }
        before != member.health.presence
    }

    /// Agents that are to be pinged now, at most `limit`; each counts as being pinged until it is heard or missed.
    pub(crate) fn due(&mut self, now: Duration, limit: usize) -> Vec<AgentId> {
        let due = self.members.iter_mut().filter(|(_, member)| !member.pinging && member.next_ping <= now);
        due.take(limit)
            .map(|(agent, member)| {
                member.pinging = true;
                *agent
            })
            .collect()
    }

    /// When the next ping is due; `None` while all are under way or nobody is there.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.members.values().filter(|member| !member.pinging).map(|member| member.next_ping).min()
    }

    /// Whether it should be asked last.
    pub(crate) fn avoided(&self, now: Duration, agent: AgentId) -> bool {
        self.members.get(&agent).is_none_or(|member| !member.health.answers() || now < member.avoided_until)
    }

    pub(crate) fn view(&self) -> HealthView {
        self.members.iter().map(|(agent, member)| (*agent, member.health)).collect()
    }

    pub(crate) fn of(&self, agent: AgentId) -> Option<AgentHealth> {
        self.members.get(&agent).map(|member| member.health)
    }

    fn ping_interval(&self) -> Duration {
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.patience.ping_interval.max(Duration::from_secs(1) * members / PINGS_PER_SECOND)
    }
}

impl Member {
    fn lower(&mut self, now: Duration, absent_after: Duration) {
        let away = now.saturating_sub(self.last_heard) >= absent_after;
        self.set_presence(now, if away { Presence::Absent } else { Presence::Suspect });
    }

    fn set_presence(&mut self, now: Duration, presence: Presence) {
        if self.health.presence != presence {
            self.health.presence = presence;
            self.health.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: AgentId = AgentId([1; 32]);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn core() -> HealthCore {
        let mut core = HealthCore::new(Patience { ping_interval: at(2), absent_after: at(1800) });
        core.set_members(at(0), [AGENT]);
        core
    }

    fn presence(core: &HealthCore) -> Presence {
        core.of(AGENT).expect("a member").presence
    }

    #[test]
    fn three_missed_pings_make_a_suspect_and_one_answer_clears_it() {
        let mut core = core();
        assert_eq!(presence(&core), Presence::Unheard);
        assert!(core.apply(at(1), Event::Heard(AGENT, Some(SelfReport::default()))));
        for miss in 1..=2 {
            assert!(!core.apply(at(3 + miss), Event::Missed(AGENT)), "miss {miss}");
        }
        assert!(core.apply(at(6), Event::Missed(AGENT)));
        assert_eq!(presence(&core), Presence::Suspect);
        assert!(core.apply(at(7), Event::Heard(AGENT, Some(SelfReport::default()))));
        assert_eq!(presence(&core), Presence::Up);
    }

    #[test]
    fn a_suspect_is_absent_after_the_grace_time() {
        let mut core = core();
        core.apply(at(1), Event::Heard(AGENT, Some(SelfReport::default())));
        core.apply(at(2), Event::ProbeFailed(AGENT));
        assert_eq!(presence(&core), Presence::Suspect);
        core.apply(at(1800), Event::Missed(AGENT));
        assert_eq!(presence(&core), Presence::Suspect);
        core.apply(at(1801), Event::Missed(AGENT));
        assert_eq!(presence(&core), Presence::Absent);
    }

    #[test]
    fn who_let_someone_wait_is_asked_last_for_a_while_but_stays_up() {
        let mut core = core();
        core.apply(at(1), Event::Heard(AGENT, Some(SelfReport::default())));
        assert!(!core.avoided(at(1), AGENT));
        core.apply(at(1), Event::LetWait(AGENT));
        assert!(core.avoided(at(1), AGENT) && !core.avoided(at(3), AGENT));
        assert_eq!(presence(&core), Presence::Up);
    }

    #[test]
    fn who_speaks_is_not_pinged_and_each_is_pinged_once_at_a_time() {
        let mut core = core();
        assert_eq!(core.due(at(0), 10), [AGENT]);
        assert_eq!(core.due(at(1), 10), []);
        core.apply(at(1), Event::Heard(AGENT, Some(SelfReport::default())));
        assert_eq!((core.next_due(), core.due(at(2), 10)), (Some(at(3)), vec![]));
        core.apply(at(2), Event::Heard(AGENT, Some(SelfReport::default())));
        assert_eq!((core.due(at(3), 10), core.due(at(4), 10)), (vec![], vec![AGENT]));
    }

    #[test]
    fn in_a_large_pool_each_is_pinged_less_often() {
        let mut core = HealthCore::new(Patience { ping_interval: at(2), absent_after: at(1800) });
        core.set_members(at(0), (0..200).map(|number| AgentId([number; 32])));
        core.apply(at(0), Event::Heard(AgentId([7; 32]), Some(SelfReport::default())));
        assert_eq!(core.members[&AgentId([7; 32])].next_ping, at(10));
    }
}
