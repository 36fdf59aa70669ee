//! What is remembered of the ways to one agent over others: the one that worked last, those that did not, and when
//! looking for one again makes sense. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use dci_proto::AgentId;
use tokio::time::Instant;

/// How long a way that worked is tried first: a shorter one may have come up since.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// Agents remembered to have led nowhere, at most.
const FAILED_LIMIT: usize = 64;
/// The pause after the first search that found nothing.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest such pause.
const PAUSE_LAST: Duration = Duration::from_secs(30);

/// Ways to one agent.
#[derive(Debug)]
pub(crate) struct Ways {
    worked: Option<(AgentId, Instant)>,
    /// The latest last.
    failed: VecDeque<AgentId>,
    pause: Duration,
    resting_until: Option<Instant>,
}

impl Default for Ways {
    fn default() -> Self {
        Self { worked: None, failed: VecDeque::new(), pause: PAUSE_FIRST, resting_until: None }
    }
}

impl Ways {
    /// Over whom it worked last.
    pub(crate) fn remembered(&self, now: Instant) -> Option<AgentId> {
        self.worked.filter(|(_, at)| now < *at + REMEMBERED_FOR).map(|(hop, _)| hop)
    }

    /// Whether a search a moment ago found nothing.
    pub(crate) fn is_resting(&self, now: Instant) -> bool {
        self.resting_until.is_some_and(|until| now < until)
    }

    /// Where in the order of being asked an agent stands: those that led nowhere last, the latest of them at the end.
    pub(crate) fn rank(&self, hop: AgentId) -> usize {
        self.failed.iter().position(|failed| *failed == hop).map_or(0, |place| place + 1)
    }

    /// A tunnel over an agent stands.
    pub(crate) fn worked(&mut self, hop: AgentId, now: Instant) {
        self.failed.retain(|failed| *failed != hop);
        self.worked = Some((hop, now));
        self.forgive();
    }

    /// No tunnel over an agent, or one that broke.
    pub(crate) fn failed(&mut self, hop: AgentId) {
        self.worked = self.worked.filter(|(worked, _)| *worked != hop);
        self.failed.retain(|failed| *failed != hop);
        if self.failed.len() >= FAILED_LIMIT {
            self.failed.pop_front();
        }
        self.failed.push_back(hop);
    }

    /// A search found nothing.
    pub(crate) fn nothing_found(&mut self, now: Instant) {
        self.resting_until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_LAST);
    }

    /// What failed may work now: the agent was heard from, or somebody new is there.
    pub(crate) fn forgive(&mut self) {
        self.pause = PAUSE_FIRST;
        self.resting_until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> AgentId {
        AgentId([number; 32])
    }

    #[test]
    fn the_way_that_worked_is_remembered_until_it_fails_or_grows_old() {
        let (mut ways, now) = (Ways::default(), Instant::now());
        ways.worked(id(1), now);
        assert_eq!(ways.remembered(now + REMEMBERED_FOR / 2), Some(id(1)));
        assert_eq!(ways.remembered(now + REMEMBERED_FOR), None);
        ways.failed(id(2));
        assert_eq!(ways.remembered(now), Some(id(1)));
        ways.failed(id(1));
        assert_eq!(ways.remembered(now), None);
    }

    #[test]
    fn who_led_nowhere_is_asked_last_the_latest_at_the_end() {
        let mut ways = Ways::default();
        [1, 2, 1].into_iter().for_each(|number| ways.failed(id(number)));
        assert_eq!([3, 2, 1].map(|number| ways.rank(id(number))), [0, 1, 2]);
        ways.worked(id(1), Instant::now());
        assert_eq!(ways.rank(id(1)), 0);
        (0..=255).for_each(|number| ways.failed(id(number)));
        assert_eq!(ways.failed.len(), FAILED_LIMIT);
    }

    #[test]
    fn searches_that_find_nothing_become_seldom_until_something_changes() {
        let (mut ways, now) = (Ways::default(), Instant::now());
        ways.nothing_found(now);
        assert!(ways.is_resting(now) && !ways.is_resting(now + PAUSE_FIRST));
        (0..20).for_each(|_| ways.nothing_found(now));
        assert!(ways.is_resting(now + PAUSE_LAST / 2) && !ways.is_resting(now + PAUSE_LAST));
        ways.forgive();
        assert!(!ways.is_resting(now));
    }
}
