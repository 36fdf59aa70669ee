//! How many stripes stand how safely, counted so that 1 million of them cost no memory and agents coming and going
//! cost no recount.
//!
//! Stripes that lie on the same agents stand or fall together, so the census keeps one tally for each such pattern.
//! Reachability is applied to the patterns when somebody asks.

use std::collections::BTreeMap;

use dci_proto::AgentId;
use shoal_care::bad_places;
use shoal_ledger::query::BadShards;
use shoal_ledger::{KvError, KvRead, StripeRecord, query};

/// Patterns kept apart, at most (about 10 MiB). Stripes beyond are judged once, by who could be reached at the count.
const PATTERNS_LIMIT: usize = 100_000;

/// Stripes by how safe they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct StripeCounts {
    /// All.
    pub total: u64,
    /// Every shard is on an agent that answers, and was not found bad there.
    pub healthy: u64,
    /// Shards are missing, and at least one more can be spared.
    pub degraded: u64,
    /// Shards are missing, and the loss of one more loses the stripe.
    pub endangered: u64,
    /// Fewer sound shards than needed are on agents that answer. Agents may come back.
    pub lost: u64,
    /// Of the lost, those that would be were all agents to answer: too many of their shards were found bad.
    #[serde(default)]
    pub damaged: u64,
}

/// What the agents that answer make of a census.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CensusVerdict {
    /// Stripes by how safe they are.
    pub counts: StripeCounts,
    /// The least number of further losses that all readable stripes survive; `None` without stripes.
    pub least_margin: Option<u8>,
    /// Bytes of shards that are missing.
    pub missing_bytes: u64,
    /// Shards that their holders have found bad and could not mend in place: they count as missing.
    pub bad_shards: u64,
}

/// What stripes would be if one agent were away. Those that no agent can bring back, as too many of their shards are bad, are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Without {
    /// Stripes that have a shard there and could not be read.
    pub unreadable: u64,
    /// Stripes that have a shard there and could lose nothing more.
    pub endangered: u64,
    /// Stripes that have a shard there and could spare at least one more.
    pub degraded: u64,
    /// Those of the unreadable and the endangered that lack shards now: rebuilding them helps.
    pub mending: u64,
    /// The least number of further losses that all stripes readable then would survive; `None` without stripes.
    pub least_margin: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    k: u8,
    width: u8,
    holders: Vec<u16>,
}

impl Pattern {
    /// Too few sound shards are left, whoever answers.
    fn is_damaged(&self) -> bool {
        self.holders.len() < usize::from(self.k)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    stripes: u64,
    shard_bytes: u64,
}

/// Stripes by the agents they lie on, at one position of the ledger.
#[derive(Debug, Clone, Default)]
pub struct Census {
    agents: Vec<AgentId>,
    numbers: BTreeMap<AgentId, u16>,
    patterns: BTreeMap<Pattern, Tally>,
    beyond: CensusVerdict,
    bad_shards: u64,
}

impl Census {
    /// Counts all stripes of a view. `pending`: bad shards of which the ledger does not know yet. `reachable` judges those
    /// beyond the patterns kept apart.
    ///
    /// # Errors
    /// If the local copy of the ledger cannot be read.
    pub fn take(view: &dyn KvRead, pending: &BadShards, reachable: &dyn Fn(AgentId) -> bool) -> Result<Self, KvError> {
        let mut bad = query::bad_shards_of_all(view)?;
        let mut census = Self { bad_shards: bad.len() as u64, ..Self::default() };
        bad.extend(pending);
        query::stripes(view, None, &mut |stripe, record| {
            census.add(&record, &bad_places(&bad, stripe, &record), reachable);
            true
        })?;
        Ok(census)
    }

    /// Counts one stripe. `bad`: its shards that were found bad, which are as good as nowhere.
    pub fn add(&mut self, record: &StripeRecord, bad: &[u8], reachable: &dyn Fn(AgentId) -> bool) {
        let sound = (0u8..).zip(&record.shards).filter(|(index, _)| !bad.contains(index));
        let mut holders: Vec<u16> =
            sound.filter_map(|(_, place)| place.agent).map(|agent| self.number(agent)).collect();
        holders.sort_unstable();
        let width = u8::try_from(record.shards.len()).unwrap_or(u8::MAX);
        let pattern = Pattern { k: record.k, width, holders };
        if self.patterns.len() < PATTERNS_LIMIT || self.patterns.contains_key(&pattern) {
            let tally = self.patterns.entry(pattern).or_default();
            tally.stripes += 1;
            tally.shard_bytes += u64::from(record.shard_bytes);
        } else {
            let tally = Tally { stripes: 1, shard_bytes: u64::from(record.shard_bytes) };
            judge(&mut self.beyond, &pattern, tally, &self.agents, reachable);
        }
    }

    /// Whether it has to be taken anew when other agents answer than before.
    #[must_use]
    pub fn depends_on_reachability(&self) -> bool {
        self.beyond.counts.total > 0
    }

    /// What the agents that answer now make of it.
    #[must_use]
    pub fn judge(&self, reachable: &dyn Fn(AgentId) -> bool) -> CensusVerdict {
        let mut verdict = CensusVerdict { bad_shards: self.bad_shards, ..self.beyond };
        for (pattern, tally) in &self.patterns {
            judge(&mut verdict, pattern, *tally, &self.agents, reachable);
        }
        verdict
    }

    /// What stripes would be without each agent, were it away and all else as it is; agents that no stripe lies on are left
    /// out. Stripes beyond the patterns kept apart are taken to lie on every agent.
    #[must_use]
    pub fn without_each(&self, reachable: &dyn Fn(AgentId) -> bool) -> BTreeMap<AgentId, Without> {
        let up: Vec<bool> = self.agents.iter().map(|agent| reachable(*agent)).collect();
        let is_up = |number: u16| up.get(usize::from(number)).copied().unwrap_or(false);
        let mut each = vec![Without::default(); self.agents.len()];
        let least = self.judge(reachable).least_margin;
        for (pattern, tally) in self.patterns.iter().filter(|(pattern, _)| !pattern.is_damaged()) {
            let present = pattern.holders.iter().filter(|number| is_up(**number)).count();
            let lacks = present < usize::from(pattern.width);
            for number in &pattern.holders {
                let left = present - usize::from(is_up(*number));
                let margin = left.checked_sub(usize::from(pattern.k)).map(|m| u8::try_from(m).unwrap_or(u8::MAX));
                if let Some(without) = each.get_mut(usize::from(*number)) {
                    without.count(margin, tally.stripes, lacks);
                }
            }
        }
        let beyond = self.beyond.counts;
        let least_of = |mut without: Without| {
            if beyond.total > 0 {
                let margin = self.beyond.least_margin.and_then(|margin| margin.checked_sub(1));
                without.count(margin, beyond.total, beyond.healthy < beyond.total);
            }
            without.least_margin = without.least_margin.into_iter().chain(least).min();
            without
        };
        self.agents.iter().copied().zip(each.into_iter().map(least_of)).collect()
    }

    /// Stripes that lie on an agent, with the bytes of its shards.
    #[must_use]
    pub fn on(&self, agent: AgentId) -> (u64, u64) {
        let Some(number) = self.numbers.get(&agent) else { return (0, 0) };
        let holds = self.patterns.iter().filter(|(pattern, _)| pattern.holders.binary_search(number).is_ok());
        holds.fold((0, 0), |(stripes, bytes), (_, tally)| (stripes + tally.stripes, bytes + tally.shard_bytes))
    }

    fn number(&mut self, agent: AgentId) -> u16 {
        if let Some(number) = self.numbers.get(&agent) {
            return *number;
        }
        // More than 65,535 holders share the last number: far beyond what one ledger is built for.
        let number = u16::try_from(self.agents.len()).unwrap_or(u16::MAX);
        self.agents.push(agent);
        self.numbers.insert(agent, number);
        number
    }
}

impl Without {
    /// Counts stripes that would survive so many further losses; `None`: they could not be read.
    fn count(&mut self, margin: Option<u8>, stripes: u64, lack_shards: bool) {
        match margin {
            None => self.unreadable += stripes,
            Some(0) => self.endangered += stripes,
            Some(_) => self.degraded += stripes,
        }
        if lack_shards && margin.is_none_or(|margin| margin == 0) {
            self.mending += stripes;
        }
        self.least_margin = self.least_margin.into_iter().chain(margin).min();
    }
}

fn judge(
    verdict: &mut CensusVerdict,
    pattern: &Pattern,
    tally: Tally,
    agents: &[AgentId],
    reachable: &dyn Fn(AgentId) -> bool,
) {
    let answers = |number: &&u16| agents.get(usize::from(**number)).is_some_and(|agent| reachable(*agent));
    let present = u8::try_from(pattern.holders.iter().filter(answers).count()).unwrap_or(u8::MAX);
    let missing = pattern.width.saturating_sub(present);
    let counts = &mut verdict.counts;
    counts.total += tally.stripes;
    verdict.missing_bytes += u64::from(missing) * tally.shard_bytes;
    let Some(margin) = present.checked_sub(pattern.k) else {
        counts.lost += tally.stripes;
        if pattern.is_damaged() {
            counts.damaged += tally.stripes;
        }
        return;
    };
    verdict.least_margin = Some(verdict.least_margin.map_or(margin, |least| least.min(margin)));
    match (missing, margin) {
        (0, _) => counts.healthy += tally.stripes,
        (_, 0) => counts.endangered += tally.stripes,
        _ => counts.degraded += tally.stripes,
    }
}

#[cfg(test)]
mod tests {
    use dci_proto::{ContentId, ShardHash};
    use shoal_ledger::ShardPlace;

    use super::*;

    fn agent(number: u8) -> AgentId {
        AgentId([number; 32])
    }

    fn stripe(k: u8, holders: &[Option<u8>]) -> StripeRecord {
        let shards = holders
            .iter()
            .map(|holder| ShardPlace { agent: holder.map(agent), hash: ShardHash::default() })
            .collect::<Vec<_>>();
        StripeRecord {
            content: ContentId::default(),
            codec: 1,
            k,
            m: holders.len() as u8 - k,
            plain_bytes: 100,
            stored_bytes: 100,
            shard_bytes: 10,
            compression: 0,
            key_epoch: 1,
            shards,
        }
    }

    #[test]
    fn stripes_are_judged_by_who_answers_now_without_a_recount() {
        let mut census = Census::default();
        let everyone = |_| true;
        for _ in 0..3 {
            census.add(&stripe(2, &[Some(1), Some(2), Some(3), Some(4)]), &[], &everyone);
        }
        census.add(&stripe(1, &[Some(1), Some(2), None]), &[], &everyone);
        let verdict = census.judge(&everyone);
        assert_eq!(verdict.counts, StripeCounts { total: 4, healthy: 3, degraded: 1, ..StripeCounts::default() });
        assert_eq!((verdict.least_margin, verdict.missing_bytes), (Some(1), 10));

        let without_two = census.judge(&|id| id != agent(1) && id != agent(3));
        assert_eq!(without_two.counts, StripeCounts { total: 4, endangered: 4, ..StripeCounts::default() });
        assert_eq!(without_two.least_margin, Some(0));

        let without_three = census.judge(&|id| id == agent(2));
        assert_eq!(without_three.counts, StripeCounts { total: 4, endangered: 1, lost: 3, ..StripeCounts::default() });
        assert_eq!(census.on(agent(3)), (3, 30));
    }

    #[test]
    fn what_would_be_without_each_agent_is_told_from_one_pass() {
        let mut census = Census::default();
        let everyone = |_| true;
        for _ in 0..3 {
            census.add(&stripe(2, &[Some(1), Some(2), Some(3), Some(4)]), &[], &everyone);
        }
        census.add(&stripe(1, &[Some(1), Some(2)]), &[], &everyone);
        census.add(&stripe(1, &[Some(5)]), &[], &everyone);
        let told = |reachable: &dyn Fn(AgentId) -> bool, number: u8| {
            let w = census.without_each(reachable)[&agent(number)];
            (w.unreadable, w.endangered, w.degraded, w.mending, w.least_margin)
        };
        assert_eq!(told(&everyone, 3), (0, 0, 3, 0, Some(0)), "agent 5 alone holds a stripe, so nothing may be lost");
        assert_eq!(told(&everyone, 1), (0, 1, 3, 0, Some(0)));
        assert_eq!(told(&everyone, 5), (1, 0, 0, 0, Some(0)));
        let without_four = |id| id != agent(4);
        assert_eq!(told(&without_four, 3), (0, 3, 0, 3, Some(0)), "what lacks shards now would have no margin");
        assert_eq!(told(&without_four, 4), (0, 0, 3, 0, Some(0)), "it is away already: nothing changes");
        assert!(!census.without_each(&everyone).contains_key(&agent(9)));
    }

    #[test]
    fn shards_that_were_found_bad_are_as_good_as_nowhere_and_what_lacks_too_many_comes_back_with_no_agent() {
        let mut census = Census::default();
        let everyone = |_| true;
        for bad in [&[][..], &[2], &[0, 3], &[0, 1, 3]] {
            census.add(&stripe(2, &[Some(1), Some(2), Some(3), Some(4)]), bad, &everyone);
        }
        let counts = StripeCounts { total: 4, healthy: 1, degraded: 1, endangered: 1, lost: 1, damaged: 1 };
        let verdict = census.judge(&everyone);
        assert_eq!((verdict.counts, verdict.missing_bytes), (counts, 60));
        let away = census.judge(&|id| id != agent(2) && id != agent(3)).counts;
        assert_eq!((away.lost, away.damaged), (2, 1));
        let without = census.without_each(&everyone)[&agent(4)];
        assert_eq!((without.unreadable, without.endangered, without.degraded), (0, 1, 1), "two of the four lie there");
        let without = census.without_each(&everyone)[&agent(3)];
        assert_eq!(without.unreadable, 1, "of the two, what is lost already is not lost by its going");
    }

    #[test]
    fn a_stripe_that_never_had_parity_is_healthy_with_no_margin() {
        let mut census = Census::default();
        census.add(&stripe(1, &[Some(1)]), &[], &|_| true);
        let verdict = census.judge(&|_| true);
        assert_eq!((verdict.counts.healthy, verdict.least_margin), (1, Some(0)));
    }
}
