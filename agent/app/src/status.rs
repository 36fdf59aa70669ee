//! How the pool stands, in numbers and in one honest sentence (`verdict`).
//!
//! Pure: takes what the ledger, health and consensus know, returns a report. Serialised it is what
//! `shoal status --json` prints; its keys are stable.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};
use shoal_care::Progress;
use shoal_ledger::{AgentRecord, AgentState, PoolRecord};

use crate::census::{CensusVerdict, StripeCounts, Without};
use crate::health::{HealthView, Presence};
use crate::outlook::switch_off::{SwitchOffInput, switch_off};
use crate::outlook::{DrainStatus, SwitchOff};
use crate::verdict;

/// How the pool stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// One sentence or two for people.
    pub verdict: String,
    /// How many more agents may be lost, any of them, without losing what can be read now.
    pub survives: u32,
    /// How many more agents may be lost, any of them, before changes stop.
    pub survives_writing: u32,
    /// Whether changes can be agreed on now.
    pub quorum: bool,
    /// The members, by name.
    pub nodes: Vec<NodeStatus>,
    /// Stripes by how safe they are.
    pub stripes: StripeCounts,
    /// Shards that their holders have found missing, damaged or unreadable and could not mend in place; the stripes' counts have
    /// them as missing.
    #[serde(default)]
    pub bad_shards: u64,
    /// What waits to be rebuilt.
    pub repair: RepairStatus,
    /// What is done to keep the volume whole, as the agent that leads tells it; null where it does not say.
    #[serde(default)]
    pub work: Option<Progress>,
    /// What is kept of deleted and overwritten files.
    #[serde(default)]
    pub trash: TrashStatus,
}

/// What is kept of deleted and overwritten files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrashStatus {
    /// Versions of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl StatusReport {
    /// Tells of shards that reads or the scrub of the reporting agent found missing or damaged where the ledger has them,
    /// until they are mended or the ledger knows. The stripes' counts of this agent have them as missing; where that loses data,
    /// the loss is said first.
    pub(crate) fn tell_bad_shards(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let shards = if count == 1 { "1 shard" } else { &format!("{count} shards") };
        if self.stripes.damaged > 0 {
            self.verdict += &format!(
                " {shards} found missing or damaged {} not mended yet.",
                if count == 1 { "is" } else { "are" }
            );
            return;
        }
        let rest = self.verdict.strip_prefix("Healthy.").unwrap_or(&self.verdict).trim();
        self.verdict =
            format!("Damaged: {shards} found missing or damaged on disks that answer, not mended yet. Else: {rest}");
    }

    /// Tells of what troubles the reporting agent itself.
    pub(crate) fn tell_here(&mut self, trouble: Option<String>) {
        let Some(trouble) = trouble else { return };
        let rest = self.verdict.strip_prefix("Healthy.").unwrap_or(&self.verdict).trim();
        self.verdict = format!("Here: {trouble}. Else: {rest}");
    }
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// What it is up to.
    pub state: NodeState,
    /// Bytes it gives to the pool.
    pub capacity_bytes: u64,
    /// Bytes its shards use, as it last said.
    pub used_bytes: u64,
    /// How far it can be relied on, 0 to 100, as it last said.
    pub standing: u8,
    /// Whether it is likely to fail soon; it is emptied then.
    pub failing: bool,
    /// What speaks against it.
    pub reasons: Vec<String>,
    /// How far its emptying is, while it is emptied.
    #[serde(default)]
    pub drain: Option<DrainStatus>,
    /// Whether it can be switched off now.
    #[serde(default)]
    pub switch_off: SwitchOff,
}

/// What a member is up to. What cannot be reached is said before what an admin decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// Answers.
    Up,
    /// Has not answered for seconds.
    Suspect,
    /// Has not answered for longer than the grace time.
    Absent,
    /// Answers, is given nothing new.
    Paused,
    /// Answers, is being emptied.
    Draining,
    /// Is a member, has not been heard yet.
    Joining,
    /// Answers, but its store, or a part of it, is not there: its shards cannot be had.
    Unplugged,
}

impl NodeState {
    /// As people and JSON see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Absent => "absent",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Joining => "joining",
            Self::Unplugged => "unplugged",
        }
    }

    /// Whether it answers, and its shards can be had.
    #[must_use]
    pub fn answers(self) -> bool {
        matches!(self, Self::Up | Self::Paused | Self::Draining)
    }

    /// Whether it answers, with its store or without.
    #[must_use]
    pub fn speaks(self) -> bool {
        self.answers() || self == Self::Unplugged
    }
}

impl std::fmt::Display for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What waits to be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RepairStatus {
    /// Bytes that have to be written: as the agent that leads counts them, or else of the shards that are missing.
    pub queued_bytes: u64,
    /// Seconds until they are written; null while that cannot be told, as when there is no place for some.
    pub eta_s: Option<u64>,
}

/// Who decides about changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuorumView {
    /// Who leads, as far as this agent knows.
    pub leader: Option<AgentId>,
    /// Whose votes count.
    pub voters: BTreeSet<AgentId>,
    /// Whether changes can be agreed on now.
    pub agrees: bool,
}

impl QuorumView {
    /// Voters needed to agree.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}

/// All a report is made of.
pub struct StatusInput<'a> {
    /// The agent that reports; it answers itself.
    pub agent: AgentId,
    /// The pool.
    pub pool: &'a PoolRecord,
    /// Its members.
    pub members: &'a [AgentRecord],
    /// Who answers.
    pub health: &'a HealthView,
    /// Who decides.
    pub quorum: &'a QuorumView,
    /// The stripes, judged by who answers.
    pub census: CensusVerdict,
    /// What they would be without each agent.
    pub without: &'a BTreeMap<AgentId, Without>,
    /// How far the emptying of agents is.
    pub drains: &'a BTreeMap<AgentId, DrainStatus>,
    /// What is done to keep the volume whole, as far as that is known.
    pub work: Option<Progress>,
    /// What is in the trash.
    pub trash: TrashStatus,
    /// Seconds an agent may be silent before what it holds is made anew elsewhere.
    pub absent_after_s: u64,
}

/// Everything the sentence is made of.
pub(crate) struct Findings<'a> {
    pub(crate) nodes: &'a [NodeStatus],
    pub(crate) stripes: StripeCounts,
    pub(crate) bad_shards: u64,
    pub(crate) survives: u32,
    pub(crate) survives_writing: u32,
    pub(crate) quorum: bool,
    pub(crate) voters: usize,
    pub(crate) voters_up: usize,
    pub(crate) survive_wanted: u32,
    pub(crate) work: Option<&'a Progress>,
    pub(crate) absent_after_s: u64,
}

/// Builds the report.
#[must_use]
pub fn report(input: &StatusInput<'_>) -> StatusReport {
    let mut nodes = nodes(input);
    let up: BTreeSet<AgentId> = nodes.iter().filter(|node| node.state.answers()).map(|node| node.id).collect();
    // One whose store is not there votes, and keeps its copy of the ledger.
    let speaking: BTreeSet<AgentId> = nodes.iter().filter(|node| node.state.speaks()).map(|node| node.id).collect();
    for node in &mut nodes {
        node.switch_off = switch_off_of(input, node, &up, &speaking);
    }
    let voters_up = input.quorum.voters.intersection(&speaking).count();
    let quorum = input.quorum.agrees;
    let survives = survives(input, &up, &speaking);
    let survives_writing = if quorum { count(voters_up.saturating_sub(input.quorum.majority())) } else { 0 };
    let findings = Findings {
        nodes: &nodes,
        stripes: input.census.counts,
        bad_shards: input.census.bad_shards,
        survives,
        survives_writing,
        quorum,
        voters: input.quorum.voters.len(),
        voters_up,
        survive_wanted: u32::from(input.pool.survive),
        work: input.work.as_ref(),
        absent_after_s: input.absent_after_s,
    };
    StatusReport {
        verdict: verdict::sentence(&findings),
        survives,
        survives_writing,
        quorum,
        stripes: input.census.counts,
        bad_shards: input.census.bad_shards,
        repair: repair(input.census, input.work.as_ref()),
        work: input.work.clone(),
        trash: input.trash,
        nodes,
    }
}

fn switch_off_of(
    input: &StatusInput<'_>,
    node: &NodeStatus,
    up: &BTreeSet<AgentId>,
    speaking: &BTreeSet<AgentId>,
) -> SwitchOff {
    let others = |agents: &BTreeSet<AgentId>, wanted: fn(&AgentRecord) -> bool| {
        let counts = |member: &&AgentRecord| member.id != node.id && agents.contains(&member.id) && wanted(member);
        input.members.iter().filter(counts).count()
    };
    let without = input.without.get(&node.id).copied();
    switch_off(&SwitchOffInput {
        name: &node.name,
        answers: node.state.answers(),
        unplugged: node.state == NodeState::Unplugged,
        draining: node.drain.is_some(),
        emptied: node.drain.as_ref().is_some_and(|drain| drain.emptied),
        without: without.unwrap_or(Without { least_margin: input.census.least_margin, ..Without::default() }),
        lost_already: input.census.counts.damaged,
        ledger_copies_left: others(speaking, |member| member.roles.mount || member.roles.vote),
        stores_left: others(up, |member| member.roles.store),
        quorum: input.quorum.agrees,
        voters_left: input.quorum.voters.iter().filter(|voter| **voter != node.id && speaking.contains(voter)).count(),
        majority: input.quorum.majority(),
        work: input.work.as_ref(),
    })
}

/// What waits, by the numbers of the agent that leads. While it waits for agents to come back, what is missing counts.
fn repair(census: CensusVerdict, work: Option<&Progress>) -> RepairStatus {
    let (queued, stuck) = work.map_or((0, 0), |work| (work.waiting_bytes(), work.stuck.bytes));
    let queued_bytes = match queued + stuck {
        0 => census.missing_bytes,
        bytes => bytes,
    };
    let eta_s = match (queued_bytes, stuck) {
        (0, _) => Some(0),
        (_, 0) if queued > 0 => work.and_then(|work| work.eta_s),
        _ => None,
    };
    RepairStatus { queued_bytes, eta_s }
}

fn nodes(input: &StatusInput<'_>) -> Vec<NodeStatus> {
    let mut nodes: Vec<NodeStatus> = input
        .members
        .iter()
        .map(|member| {
            let health = input.health.of(member.id);
            NodeStatus {
                id: member.id,
                name: member.name.clone(),
                state: match state(member, if member.id == input.agent { Presence::Up } else { health.presence }) {
                    answering if answering.answers() && health.unplugged_since.is_some() => NodeState::Unplugged,
                    state => state,
                },
                capacity_bytes: health.room.map_or(member.capacity_bytes, |room| room.capacity_bytes),
                used_bytes: health.room.map_or(0, |room| room.used_bytes),
                standing: health.standing.score,
                failing: health.standing.failing,
                reasons: health.standing.reasons,
                drain: input.drains.get(&member.id).cloned(),
                switch_off: SwitchOff::default(),
            }
        })
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
    nodes
}

fn state(member: &AgentRecord, presence: Presence) -> NodeState {
    match (presence, member.state) {
        (Presence::Unheard, _) => NodeState::Joining,
        (Presence::Suspect, _) => NodeState::Suspect,
        (Presence::Absent, _) => NodeState::Absent,
        (Presence::Up, AgentState::Active) => NodeState::Up,
        (Presence::Up, AgentState::Paused) => NodeState::Paused,
        (Presence::Up, AgentState::Draining) => NodeState::Draining,
    }
}

/// What data survives: its least safe stripe, and the copies of the ledger, which holds names and the smallest files.
fn survives(input: &StatusInput<'_>, up: &BTreeSet<AgentId>, speaking: &BTreeSet<AgentId>) -> u32 {
    let on = |agents: &BTreeSet<AgentId>, wanted: fn(&AgentRecord) -> bool| {
        input.members.iter().filter(|member| wanted(member) && agents.contains(&member.id)).count()
    };
    let ledger_copies = on(speaking, |member| member.roles.mount || member.roles.vote);
    let stores = on(up, |member| member.roles.store);
    let by_geometry = stores.saturating_sub(1).min(usize::from(input.pool.survive));
    let by_stripes = match input.census.least_margin {
        _ if input.census.counts.lost > 0 => 0,
        Some(margin) => usize::from(margin),
        None => by_geometry,
    };
    count(by_stripes.min(ledger_copies.saturating_sub(1)))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod bad_shard_tests {
    use super::{RepairStatus, StatusReport, StripeCounts, TrashStatus};

    #[test]
    fn damage_that_was_met_is_not_called_healthy() {
        let mut report = StatusReport {
            verdict: "Healthy. Survives the loss of any 2 agents.".into(),
            survives: 2,
            survives_writing: 2,
            quorum: true,
            nodes: Vec::new(),
            stripes: StripeCounts::default(),
            bad_shards: 0,
            repair: RepairStatus::default(),
            work: None,
            trash: TrashStatus::default(),
        };
        report.tell_bad_shards(0);
        assert!(report.verdict.starts_with("Healthy."));
        report.tell_bad_shards(3);
        assert_eq!(
            report.verdict,
            "Damaged: 3 shards found missing or damaged on disks that answer, not mended yet. Else: Survives the loss of any 2 agents."
        );
        report.verdict = "Some data is lost: 1 stripe has too few sound shards left.".into();
        report.stripes.damaged = 1;
        report.tell_bad_shards(3);
        let lost = "Some data is lost: 1 stripe has too few sound shards left. 3 shards found missing or damaged are not mended yet.";
        assert_eq!(report.verdict, lost, "what is worst is said first");
    }
}

#[cfg(test)]
mod tests {
    use dci_proto::PoolId;
    use shoal_care::{Reason, Standing, Tally};
    use shoal_ledger::AgentRoles;

    use super::*;
    use crate::health::AgentHealth;

    fn agent(number: u8) -> AgentId {
        AgentId([number; 32])
    }

    fn member(number: u8) -> AgentRecord {
        AgentRecord {
            id: agent(number),
            name: format!("pc-{number}"),
            control_addresses: Vec::new(),
            data_addresses: Vec::new(),
            roles: AgentRoles::default(),
            state: AgentState::Active,
            site: String::new(),
            capacity_bytes: 100,
            version: String::new(),
            joined_ms: 0,
        }
    }

    /// A pool of agents 1 to `count`; those in `away` have the presence beside them.
    struct Scene {
        count: u8,
        away: Vec<(u8, Presence)>,
        failing: Vec<u8>,
        voters: Vec<u8>,
        agrees: bool,
        census: CensusVerdict,
        drains: BTreeMap<AgentId, DrainStatus>,
        work: Option<Progress>,
    }

    impl Scene {
        fn of(count: u8) -> Self {
            let voters = (1..=[1, 1, 1, 3, 3, 5, 5][usize::from(count)]).collect();
            Self {
                count,
                away: Vec::new(),
                failing: Vec::new(),
                voters,
                agrees: true,
                census: CensusVerdict::default(),
                drains: BTreeMap::new(),
                work: None,
            }
        }

        fn gone(mut self, numbers: &[u8]) -> Self {
            self.away = numbers.iter().map(|number| (*number, Presence::Absent)).collect();
            self
        }

        fn drain(mut self, number: u8, drain: DrainStatus) -> Self {
            self.drains.insert(agent(number), drain);
            self
        }

        /// What waits for a reason; at 10 MB a second.
        fn waiting(mut self, reason: Reason, bytes: u64) -> Self {
            let work = self.work.get_or_insert_default();
            work.waiting.insert(reason, Tally { stripes: 3, bytes });
            work.rate_bytes_per_s = 10_000_000;
            work.eta_s = Some(work.waiting_bytes().div_ceil(10_000_000));
            self
        }

        fn stuck(mut self, stripes: u64) -> Self {
            self.work.get_or_insert_default().stuck = Tally { stripes, bytes: stripes * 100 };
            self
        }

        fn away(mut self, numbers: &[u8]) -> Self {
            self.away = numbers.iter().map(|number| (*number, Presence::Suspect)).collect();
            self
        }

        fn stripes(mut self, counts: StripeCounts, least_margin: u8) -> Self {
            self.census = CensusVerdict { counts, least_margin: Some(least_margin), ..CensusVerdict::default() };
            self
        }

        fn failing(mut self, number: u8) -> Self {
            self.failing.push(number);
            self
        }

        fn no_quorum(mut self) -> Self {
            self.agrees = false;
            self
        }

        fn report(&self) -> StatusReport {
            let members: Vec<AgentRecord> = (1..=self.count).map(member).collect();
            let presence = |number: u8| {
                self.away.iter().find(|(away, _)| *away == number).map_or(Presence::Up, |(_, presence)| *presence)
            };
            let health = (1..=self.count)
                .map(|number| {
                    let reasons = vec!["its disk smells".to_owned()];
                    let standing = match self.failing.contains(&number) {
                        true => Standing { score: 10, failing: true, reasons },
                        false => Standing::default(),
                    };
                    (agent(number), AgentHealth { presence: presence(number), standing, ..AgentHealth::default() })
                })
                .collect();
            let pool = PoolRecord { id: PoolId::default(), name: "pool".into(), format: 1, survive: 2, created_ms: 0 };
            let quorum = QuorumView {
                leader: self.agrees.then(|| agent(1)),
                voters: self.voters.iter().map(|number| agent(*number)).collect(),
                agrees: self.agrees,
            };
            report(&StatusInput {
                agent: agent(1),
                pool: &pool,
                members: &members,
                health: &health,
                quorum: &quorum,
                census: self.census,
                without: &BTreeMap::new(),
                drains: &self.drains,
                work: self.work.clone(),
                trash: TrashStatus::default(),
                absent_after_s: 1_800,
            })
        }
    }

    fn counts(healthy: u64, degraded: u64, endangered: u64, lost: u64) -> StripeCounts {
        StripeCounts { total: healthy + degraded + endangered + lost, healthy, degraded, endangered, lost, damaged: 0 }
    }

    #[test]
    fn the_sentence_says_what_is() {
        let check = |scene: Scene, expected: &str| assert_eq!(scene.report().verdict, expected);
        check(
            Scene::of(1),
            "Working, on one agent only. If it is lost, everything is lost; invite another with `shoal invite`.",
        );
        check(
            Scene::of(2),
            "Healthy. Files survive the loss of any 1 agent; writing stops with the first loss of a voting agent. The \
             policy asks for 2, which takes 3 agents.",
        );
        check(
            Scene::of(3).stripes(counts(9, 0, 0, 0), 2),
            "Healthy. Files survive the loss of any 2 agents; writing goes on after the loss of any 1.",
        );
        check(Scene::of(6).stripes(counts(9, 0, 0, 0), 2), "Healthy. Survives the loss of any 2 agents.");
        check(Scene::of(6), "Healthy. Survives the loss of any 2 agents.");
        check(
            Scene::of(6).failing(3).stripes(counts(9, 0, 0, 0), 2),
            "Warning: pc-3 is likely to fail (its disk smells). Survives the loss of any 2 agents.",
        );
        check(
            Scene::of(6).away(&[6]).stripes(counts(1, 8, 0, 0), 1),
            "Degraded: 8 of 9 stripes lack shards. 1 agent does not answer (pc-6). Files survive the loss of any 1 \
             agent; writing goes on after the loss of any 2.",
        );
        check(
            Scene::of(6).away(&[5, 6]).stripes(counts(0, 0, 9, 0), 0),
            "Endangered: one more loss would lose data. 2 agents do not answer (pc-5, pc-6). Survives the loss of no \
             agent.",
        );
        check(
            Scene::of(6).away(&[2, 3, 4, 5, 6]).stripes(counts(0, 0, 0, 9), 0).no_quorum(),
            "Some data cannot be read now: 9 stripes need agents that do not answer. 5 agents do not answer (pc-2, \
             pc-3, pc-4 and 2 more). No changes are possible: of 5 voting agents 1 answers, 3 are needed. Reading goes \
             on and may be stale.",
        );
        check(
            Scene::of(6).stripes(counts(9, 0, 0, 0), 2).no_quorum(),
            "Read-only. Changes wait: the agents are choosing who leads. Survives the loss of any 2 agents.",
        );
    }

    #[test]
    fn the_sentence_says_what_is_done_and_when_it_will_be_over() {
        let check = |scene: Scene, expected: &str| assert_eq!(scene.report().verdict, expected);
        let degraded = || Scene::of(6).gone(&[6]).stripes(counts(280, 120, 0, 0), 1);
        let survives = "Files survive the loss of any 1 agent; writing goes on after the loss of any 2.";
        let lacks = "Degraded: 120 of 400 stripes lack shards. 1 agent does not answer (pc-6).";
        check(
            degraded().waiting(Reason::Degraded, 1_200_000_000).waiting(Reason::Balance, 9_000_000_000),
            &format!("{lacks} Rebuilding 1.20 GB, about 2 minutes left. {survives}"),
        );
        let mut unmeasured = degraded().waiting(Reason::Degraded, 1_200_000_000);
        unmeasured.work.get_or_insert_default().rate_bytes_per_s = 0;
        check(unmeasured, &format!("{lacks} Rebuilding 1.20 GB. {survives}"));
        check(
            degraded().stuck(7),
            &format!("{lacks} 7 stripes cannot be rebuilt: too few agents with room for them. {survives}"),
        );
        check(
            Scene::of(6).away(&[6]).stripes(counts(280, 120, 0, 0), 1).stuck(34),
            &format!("{lacks} 34 stripes wait for pc-6 to answer, or to have been away for 30 minutes. {survives}"),
        );
        let mut unsettled = Scene::of(6).stripes(counts(9, 0, 0, 0), 2).waiting(Reason::Recut, 5_000_000);
        unsettled.work.get_or_insert_default().settled_in_s = 110;
        check(
            unsettled,
            "Healthy. If agents stay as they are for 2 minutes, 5.00 MB are cut anew for them. Survives the loss of any \
             2 agents.",
        );
        let mut patient = Scene::of(6).away(&[6]).stripes(counts(280, 120, 0, 0), 1);
        patient.work = Some(Progress::default());
        check(
            patient,
            &format!("{lacks} What is missing is made anew once an agent has been silent for 30 minutes. {survives}"),
        );
        check(
            Scene::of(6).gone(&[5, 6]).stripes(counts(400, 0, 0, 0), 2),
            "Healthy without 2 agents that do not answer (pc-5, pc-6). Files survive the loss of any 2 agents; writing goes \
             on after the loss of any 1.",
        );
        let drain = DrainStatus { percent: 40, eta_s: Some(110), ..DrainStatus::default() };
        let whole = || Scene::of(6).stripes(counts(400, 0, 0, 0), 2);
        check(
            whole().waiting(Reason::Drain, 5_000_000).drain(3, drain.clone()),
            "Draining pc-3: 40 % done, about 2 minutes left. Survives the loss of any 2 agents.",
        );
        let waits = DrainStatus { eta_s: None, waits_for: Some("room".into()), ..drain };
        check(
            whole().drain(3, waits),
            "Draining pc-3: 40 % done; it waits for room. Survives the loss of any 2 agents.",
        );
        check(
            whole().drain(3, DrainStatus { percent: 100, emptied: true, ..DrainStatus::default() }),
            "Healthy. pc-3 is emptied and can be removed. Survives the loss of any 2 agents.",
        );
        check(
            whole().waiting(Reason::Balance, 5_000_000),
            "Healthy. Evening out 5.00 MB, about 1 second left. Survives the loss of any 2 agents.",
        );
    }

    #[test]
    fn what_waits_is_told_by_the_numbers_of_who_does_it() {
        let told = |scene: Scene| {
            let RepairStatus { queued_bytes, eta_s } = scene.report().repair;
            (queued_bytes, eta_s)
        };
        let missing = || {
            let mut scene = Scene::of(6).away(&[6]).stripes(counts(0, 9, 0, 0), 1);
            scene.census.missing_bytes = 700;
            scene
        };
        assert_eq!(told(Scene::of(6)), (0, Some(0)));
        assert_eq!(told(missing()), (700, None), "nobody works on it yet");
        assert_eq!(told(missing().waiting(Reason::Degraded, 50_000_000)), (50_000_000, Some(5)));
        assert_eq!(told(missing().waiting(Reason::Degraded, 50_000_000).stuck(1)), (50_000_100, None));
    }

    #[test]
    fn the_numbers_never_promise_more_than_the_least_safe_part() {
        let numbers = |scene: Scene| {
            let report = scene.report();
            (report.survives, report.survives_writing, report.quorum)
        };
        assert_eq!(numbers(Scene::of(1)), (0, 0, true));
        assert_eq!(numbers(Scene::of(3).stripes(counts(1, 0, 0, 0), 2)), (2, 1, true));
        assert_eq!(numbers(Scene::of(6).stripes(counts(9, 1, 0, 0), 1)), (1, 2, true));
        assert_eq!(numbers(Scene::of(6).stripes(counts(9, 0, 0, 1), 2)), (0, 2, true), "something is out of reach");
        assert_eq!(numbers(Scene::of(6).away(&[1, 2]).stripes(counts(0, 0, 9, 0), 0)), (0, 1, true));
        assert_eq!(numbers(Scene::of(6).no_quorum()), (2, 0, false));
        let two_copies = Scene::of(6).away(&[3, 4, 5, 6]).stripes(counts(1, 0, 0, 0), 4);
        assert_eq!(
            numbers(two_copies).0,
            1,
            "names and the smallest files live in the ledger, of which two copies answer"
        );
    }

    #[test]
    fn a_node_is_first_what_can_be_seen_of_it_then_what_was_decided() {
        let state_of = |presence, decided| state(&AgentRecord { state: decided, ..member(1) }, presence).to_string();
        for (presence, decided, expected) in [
            (Presence::Up, AgentState::Active, "up"),
            (Presence::Up, AgentState::Paused, "paused"),
            (Presence::Up, AgentState::Draining, "draining"),
            (Presence::Suspect, AgentState::Paused, "suspect"),
            (Presence::Absent, AgentState::Active, "absent"),
            (Presence::Unheard, AgentState::Active, "joining"),
        ] {
            assert_eq!(state_of(presence, decided), expected);
        }
    }

    #[test]
    fn the_keys_scripts_rely_on_are_there() {
        let json = serde_json::to_value(Scene::of(6).report()).expect("serialises");
        for key in ["verdict", "survives", "survives_writing", "quorum", "nodes", "stripes", "repair", "trash"] {
            assert!(!json[key].is_null(), "{key}");
        }
        for key in
            ["id", "name", "state", "capacity_bytes", "used_bytes", "standing", "failing", "reasons", "switch_off"]
        {
            assert!(!json["nodes"][0][key].is_null(), "nodes.{key}");
        }
        for key in ["total", "healthy", "degraded", "endangered", "lost"] {
            assert!(json["stripes"][key].is_u64(), "stripes.{key}");
        }
        assert!(json["repair"]["queued_bytes"].is_u64() && json["repair"].get("eta_s").is_some());
    }
}
