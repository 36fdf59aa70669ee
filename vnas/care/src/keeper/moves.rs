//! Shards on their way: announced, copied, finished, or given up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dci_proto::{AgentId, ShardKey, StripeId};
use shoal_ledger::limits::MOVES_PER_COMMAND_LIMIT;
use shoal_ledger::{BegunMove, Command, KvError, KvRead, MoveId, ShardMove, StripeRecord, query};
use shoal_placement::choose;

use super::{Effect, Keeper, RebuildJob, Work};
use crate::balance::Budgets;
use crate::{Duty, Need, Reason, bad_places, need};

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The ledger is being told.
    Announcing,
    /// The ledger knows; nobody copies yet.
    Announced,
    /// The new agent is at it.
    Copying,
    /// It is durable there; the ledger is to be told.
    Copied,
    /// The ledger is being told.
    Finishing,
    /// It is to be given up.
    Failed,
    /// The ledger is being told that it is given up.
    Aborting,
}

#[derive(Debug, Clone)]
pub(super) struct MoveState {
    pub(super) from: Option<AgentId>,
    pub(super) to: AgentId,
    pub(super) bytes: u64,
    pub(super) reason: Reason,
    pub(super) stage: Stage,
    pub(super) since: Duration,
    /// Which move it is, once the ledger's row was seen.
    pub(super) begun: Option<u64>,
}

impl Keeper {
    /// Takes up moves that the ledger has and this keeper does not know, and forgets those the ledger has no more.
    pub(super) fn reconcile_moves(&mut self, now: Duration, view: &dyn KvRead) -> Result<(), KvError> {
        let rows: BTreeMap<ShardKey, BegunMove> =
            query::moves(view)?.into_iter().map(|row| (row.what.key, row)).collect();
        self.moves.retain(|key, one| {
            let told = matches!(one.stage, Stage::Announcing | Stage::Finishing | Stage::Aborting);
            told || rows.contains_key(key)
        });
        for (key, BegunMove { what: ShardMove { from, to, .. }, begun }) in rows {
            match self.moves.get_mut(&key) {
                Some(one) if one.to == to && one.begun.is_none_or(|known| known == begun) => {
                    one.begun = Some(begun);
                    continue;
                }
                // What was told of another move is still to be answered.
                Some(one) if matches!(one.stage, Stage::Announcing | Stage::Finishing | Stage::Aborting) => continue,
                _ => {}
            }
            let bytes = query::stripe(view, key.stripe)?.map_or(0, |record| u64::from(record.shard_bytes));
            let (reason, stage, begun) = (Reason::Degraded, Stage::Announced, Some(begun));
            self.moves.insert(key, MoveState { from, to, bytes, reason, stage, since: now, begun });
        }
        Ok(())
    }

    /// Gives up what takes too long, and what has become pointless before it began.
    pub(super) fn give_up_late(&mut self, now: Duration) {
        for (key, one) in &mut self.moves {
            let late = now.saturating_sub(one.since) >= self.config.job_patience;
            let back = matches!(one.reason, Reason::Endangered | Reason::Degraded)
                && one
                    .from
                    .is_some_and(|from| self.situation.duty(from) == Duty::Takes && !self.bad.contains(&(from, *key)));
            let hopeless = matches!(self.situation.duty(one.to), Duty::Gone | Duty::Leaves);
            match one.stage {
                Stage::Announced if late || back || hopeless => one.stage = Stage::Failed,
                Stage::Copying if late || hopeless => one.stage = Stage::Failed,
                _ => {}
            }
        }
    }

    /// Has agents begin with what is announced, as far as they have hands free.
    pub(super) fn start_copies(
        &mut self,
        now: Duration,
        view: &dyn KvRead,
        effects: &mut Vec<Effect>,
    ) -> Result<(), KvError> {
        let ready: Vec<(Reason, ShardKey)> = self
            .moves
            .iter()
            .filter(|(_, one)| one.stage == Stage::Announced && one.begun.is_some())
            .map(|(key, one)| (one.reason, *key))
            .collect();
        let ready: BTreeSet<(Reason, ShardKey)> = ready.into_iter().collect();
        for (reason, key) in ready {
            let Some((to, Some(begun))) = self.moves.get(&key).map(|one| (one.to, one.begun)) else { continue };
            if !self.situation.answers(to) || self.copying_to(to) >= self.config.moves_per_agent {
                continue;
            }
            let Some(mut record) = query::stripe(view, key.stripe)? else { continue };
            // What is bad is not read.
            for index in bad_places(&self.bad, key.stripe, &record) {
                if let Some(place) = record.shards.get_mut(usize::from(index)) {
                    place.agent = None;
                }
            }
            let holder = record.shards.get(usize::from(key.index)).and_then(|place| place.agent);
            let copy_from = holder.filter(|holder| self.situation.answers(*holder));
            let job = RebuildJob { key, record, to, copy_from, reason };
            let ticket = self.ticket(Work::Copy(MoveId { key, begun }));
            effects.push(Effect::Rebuild(ticket, job));
            if let Some(one) = self.moves.get_mut(&key) {
                (one.stage, one.since) = (Stage::Copying, now);
            }
        }
        Ok(())
    }

    fn copying_to(&self, agent: AgentId) -> usize {
        self.moves.values().filter(|one| one.to == agent && one.stage == Stage::Copying).count()
    }

    /// Shards that were announced to an agent and are not finished.
    fn under_way_to(&self, agent: AgentId) -> usize {
        self.moves.values().filter(|one| one.to == agent).count()
    }

    /// Begins with what is most pressing.
    pub(super) fn dispatch(
        &mut self,
        now: Duration,
        view: &dyn KvRead,
        effects: &mut Vec<Effect>,
    ) -> Result<(), KvError> {
        let mut begun: Vec<ShardMove> = Vec::new();
        let mut later: Vec<(Reason, StripeId)> = Vec::new();
        let mut budgets = self.budgets();
        // As many stripes as could be begun at all, so that one step stays short.
        let mut tries = 4 * self.config.moves_per_agent * self.situation.takers().max(1);
        while begun.len() < MOVES_PER_COMMAND_LIMIT && tries > 0 {
            let Some((reason, stripe)) = self.queue.pop() else { break };
            tries -= 1;
            let Some(record) = query::stripe(view, stripe)? else { continue };
            match need(&record, &self.situation, &bad_places(&self.bad, stripe, &record)) {
                Need::Move { reason, shards } => {
                    let count = shards.len();
                    let moves = self.targets_for(stripe, &record, &shards, None);
                    if moves.len() < count {
                        later.push((reason, stripe));
                    }
                    self.note_begun(now, reason, &record, &moves);
                    begun.extend(moves);
                }
                // The next sweep finds it again.
                Need::Recut { reason: Reason::Recut, .. } if !self.is_settled(now) => self.again = true,
                Need::Recut { reason, .. } => {
                    if !self.begin_recut(now, stripe, &record, reason, effects) {
                        later.push((reason, stripe));
                    }
                }
                Need::Nothing => match self.even_out(stripe, &record, &mut budgets) {
                    Some(one) => {
                        self.note_begun(now, reason, &record, &[one]);
                        begun.push(one);
                    }
                    // Its turn comes when hands are free.
                    None if self.is_a_taker_busy(&budgets) => later.push((reason, stripe)),
                    None => {}
                },
                Need::Stuck { .. } | Need::Lost => {}
            }
        }
        later.into_iter().for_each(|(reason, stripe)| self.queue.push(reason, stripe));
        if !begun.is_empty() {
            let ticket = self.ticket(Work::Begin(begun.iter().map(|one| one.key).collect()));
            effects.push(Effect::Submit(ticket, Command::BeginMoves { moves: begun }));
        }
        Ok(())
    }

    fn note_begun(&mut self, now: Duration, reason: Reason, record: &StripeRecord, moves: &[ShardMove]) {
        for ShardMove { key, from, to } in moves {
            let bytes = u64::from(record.shard_bytes);
            let one =
                MoveState { from: *from, to: *to, bytes, reason, stage: Stage::Announcing, since: now, begun: None };
            self.moves.insert(*key, one);
        }
    }

    /// Agents for shards of a stripe, of those with hands free; `only` of these.
    fn targets_for(
        &self,
        stripe: StripeId,
        record: &StripeRecord,
        shards: &[u8],
        only: Option<&BTreeSet<AgentId>>,
    ) -> Vec<ShardMove> {
        let exclude: Vec<AgentId> = record.shards.iter().filter_map(|place| place.agent).collect();
        let mut candidates = self.situation.candidates();
        candidates.retain(|candidate| {
            self.under_way_to(candidate.agent) < 2 * self.config.moves_per_agent
                && only.is_none_or(|only| only.contains(&candidate.agent))
        });
        // Where one could not take it, another is tried.
        let failures = self.backoffs.get(&stripe).map_or(0, |backoff| u64::from(backoff.failures));
        let seed = stripe.0.iter().fold(failures, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte));
        let chosen = choose(&candidates, shards.len(), u64::from(record.shard_bytes), seed, &exclude);
        let one = |(index, to): (&u8, AgentId)| {
            let place = record.shards.get(usize::from(*index))?;
            Some(ShardMove { key: ShardKey { stripe, index: *index }, from: place.agent, to })
        };
        shards.iter().zip(chosen).filter_map(one).collect()
    }

    /// Whether an agent that should be given more, or could be given what another owes its owner, has its hands full.
    fn is_a_taker_busy(&self, budgets: &Budgets) -> bool {
        let full = |agent: AgentId| self.under_way_to(agent) >= 2 * self.config.moves_per_agent;
        let owed = || budgets.owed.values().any(|left| *left > 0);
        budgets.deficit.iter().any(|(agent, left)| *left > 0 && full(*agent))
            || (owed() && self.situation.candidates().iter().any(|candidate| full(candidate.agent)))
    }

    /// A move that brings a stripe from an agent that has too much to one that has too little.
    fn even_out(&self, stripe: StripeId, record: &StripeRecord, budgets: &mut Budgets) -> Option<ShardMove> {
        let bytes = u64::from(record.shard_bytes);
        for (index, place) in (0u8..).zip(&record.shards) {
            let Some(holder) = place.agent else { continue };
            let owes = budgets.owed.get(&holder).is_some_and(|left| *left > 0);
            if !owes && budgets.surplus.get(&holder).is_none_or(|left| *left < bytes) {
                continue;
            }
            let lacking: BTreeSet<AgentId> =
                budgets.deficit.iter().filter(|(_, left)| **left >= bytes).map(|(agent, _)| *agent).collect();
            let only = (!owes).then_some(&lacking);
            if let Some(one) = self.targets_for(stripe, record, &[index], only).first().copied() {
                budgets.give(holder, bytes)?;
                budgets.take(one.to, bytes);
                return Some(one);
            }
        }
        None
    }

    /// Tells the ledger of what is copied, and of what is given up.
    pub(super) fn close_moves(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        for (from, to) in [(Stage::Copied, Stage::Finishing), (Stage::Failed, Stage::Aborting)] {
            let mut ids: Vec<MoveId> = Vec::new();
            for (key, one) in self.moves.iter_mut().filter(|(_, one)| one.stage == from) {
                let Some(begun) = one.begun else { continue };
                if ids.len() < MOVES_PER_COMMAND_LIMIT {
                    ids.push(MoveId { key: *key, begun });
                    (one.stage, one.since) = (to, now);
                }
            }
            if ids.is_empty() {
                continue;
            }
            let keys: Vec<ShardKey> = ids.iter().map(|id| id.key).collect();
            let (work, command) = match to {
                Stage::Finishing => (Work::Finish(keys), Command::FinishMoves { moves: ids }),
                _ => (Work::Abort(keys), Command::AbortMoves { moves: ids }),
            };
            let ticket = self.ticket(work);
            effects.push(Effect::Submit(ticket, command));
        }
    }

    /// The ledger has been told of moves. Where it is not known whether it heard, its own rows will tell.
    pub(super) fn announced(&mut self, now: Duration, keys: &[ShardKey], accepted: Option<&[bool]>) {
        for (at, key) in keys.iter().enumerate() {
            match accepted.map(|parts| parts.get(at).copied().unwrap_or(false)) {
                Some(true) => {
                    if let Some(one) = self.moves.get_mut(key) {
                        (one.stage, one.since) = (Stage::Announced, now);
                    }
                }
                Some(false) => {
                    self.moves.remove(key);
                    self.back_off(now, key.stripe);
                }
                None => {
                    self.moves.remove(key);
                    self.again = true;
                }
            }
        }
    }

    /// An agent has copied a shard, or could not. What comes late from a move that was given up says nothing about the next.
    pub(super) fn copied(&mut self, now: Duration, id: MoveId, well: bool) {
        let key = id.key;
        let this = |one: &&mut MoveState| one.stage == Stage::Copying && one.begun == Some(id.begun);
        let Some(one) = self.moves.get_mut(&key).filter(this) else { return };
        (one.stage, one.since) = (if well { Stage::Copied } else { Stage::Failed }, now);
        if !well {
            self.back_off(now, key.stripe);
        }
    }

    pub(super) fn finished(&mut self, now: Duration, keys: &[ShardKey], accepted: Option<&[bool]>) {
        for (at, key) in keys.iter().enumerate() {
            match accepted.map(|parts| parts.get(at).copied().unwrap_or(false)) {
                Some(true) => {
                    if let Some(one) = self.moves.remove(key) {
                        self.backoffs.remove(&key.stripe);
                        self.progress.worked(now, one.reason, one.bytes);
                    }
                }
                // The stripe is gone, or its new agent no member any more: the rows tell which.
                Some(false) => {
                    if let Some(one) = self.moves.get_mut(key) {
                        one.stage = Stage::Failed;
                    }
                }
                None => {
                    if let Some(one) = self.moves.get_mut(key) {
                        one.stage = Stage::Copied;
                    }
                }
            }
        }
    }

    pub(super) fn aborted(&mut self, keys: &[ShardKey], accepted: Option<&[bool]>) {
        for key in keys {
            match accepted {
                Some(_) => {
                    self.moves.remove(key);
                    self.again = true;
                }
                None => {
                    if let Some(one) = self.moves.get_mut(key) {
                        one.stage = Stage::Failed;
                    }
                }
            }
        }
    }
}
