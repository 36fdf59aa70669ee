//! Drills: by schedule somebody else restores a sample from the peers' copies and compares it, so that it is known, not
//! hoped, that everything comes back.
//!
//! Another agent that holds no copy proves most; a holder must not read what it holds, so if there are only holders this
//! PC fetches the sample from them itself ([`LocalDrill`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dci_proto::AgentId;
use shoal_backup::ArchiveId;
use shoal_backup::drill::{DrillResult, Proof, SAMPLE_LIMIT_BYTES, is_due, tester};
use tokio_util::sync::CancellationToken;

use super::books::Books;
use super::error::OwnerError;
use super::{Owner, Setup};
use crate::call::{Answer, Ask, CallError, Drill, No};

/// How long a drill may take.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// Agents that are asked in one go, until one does it.
const TESTERS_LIMIT: usize = 4;
/// After a drill that nobody could do it is tried again after this time, on the steady clock.
const AGAIN_MS: u64 = 15 * 60_000;

/// Restores a sample of this PC's backup on this PC, from its peers' copies alone.
#[async_trait]
pub trait LocalDrill: Send + Sync {
    /// What came back, compared, and how long that took, ms.
    ///
    /// # Errors
    /// It could not be tried.
    async fn drill(&self, drill: Drill) -> Result<(DrillResult, u64), CallError>;
}

impl Owner {
    pub(super) async fn run_drills(self: Arc<Self>, shutdown: CancellationToken) {
        let mut not_before_ms = 0;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.parts.pace.tick) => {}
            }
            let Ok(setup) = self.setup() else { continue };
            let now = self.now();
            if now.steady_ms < not_before_ms || self.pause_of(&setup).is_some() || !self.drill_is_due(&setup) {
                continue;
            }
            let drilled = tokio::select! {
                () = shutdown.cancelled() => return,
                drilled = self.drill_once(&setup) => drilled,
            };
            if let Err(error) = drilled {
                tracing::info!(%error, "a restore drill is tried again later");
                not_before_ms = self.now().steady_ms.saturating_add(AGAIN_MS);
            }
        }
    }

    fn drill_is_due(&self, setup: &Setup) -> bool {
        let now = self.now();
        let mut books = setup.books();
        if books.state.last_drill_ms.is_some_and(|last_ms| last_ms > now.wall_ms) {
            // The clock went back.
            books.state.last_drill_ms = Some(now.wall_ms);
            books.save_or_warn();
        }
        let Some(first) = books.archives.iter().find(|archive| archive.number.is_some()) else { return false };
        let first_ms = u64::try_from(first.made_ms).unwrap_or(0);
        is_due(self.own(), books.state.last_drill_ms, first_ms, now.wall_ms, books.plan.drill_days)
    }

    /// A drill now, whatever the schedule says. Waits for its end.
    ///
    /// # Errors
    /// It is not set up, or nobody could try it.
    pub async fn drill(&self) -> Result<Proof, OwnerError> {
        let setup = self.setup()?;
        self.drill_once(&setup).await
    }

    async fn drill_once(&self, setup: &Setup) -> Result<Proof, OwnerError> {
        let (archive, drill, mut number) = {
            let books = setup.books();
            let (archive, name, holders) = books
                .newest_held()
                .ok_or(OwnerError::NobodyDrills("no archive is whole on a peer that answers yet".to_owned()))?;
            let drill = Drill {
                passphrase: setup.passphrase.as_str().to_owned(),
                archive: name,
                seed: books.state.seed ^ books.state.drills,
                limit_bytes: SAMPLE_LIMIT_BYTES,
                holders,
            };
            (archive, drill, books.state.drills)
        };
        let mut reachable: Vec<AgentId> =
            self.parts.network.members().iter().filter(|it| it.away_ms.is_none()).map(|it| it.agent).collect();
        let holders: Vec<AgentId> = setup.books().replication.peers().collect();
        let mut why = "nobody answers".to_owned();
        for _ in 0..TESTERS_LIMIT {
            let Some(by) = tester(self.own(), number, &reachable, &holders) else { break };
            let is_holder = holders.contains(&by);
            let (by, drilled) = if is_holder {
                (self.own(), self.drill_here(&drill).await)
            } else {
                (by, self.drill_at(by, &drill).await)
            };
            match drilled {
                Ok((result, took_ms)) => {
                    let proof = Proof { archive, at_ms: self.now().wall_ms, by, took_ms, result };
                    setup.books().note_drill(&proof)?;
                    return Ok(proof);
                }
                Err(error) => why = error.to_string(),
            }
            if is_holder {
                break;
            }
            // The next one in turn, who is not this one.
            reachable.retain(|agent| *agent != by);
            number = number.wrapping_add(1);
        }
        Err(OwnerError::NobodyDrills(why))
    }

    async fn drill_here(&self, drill: &Drill) -> Result<(DrillResult, u64), CallError> {
        match self.local_drill.get() {
            Some(local) => local.drill(drill.clone()).await,
            None => Err(CallError::no(No::Refused, "only holders answer, and they must not read what they hold")),
        }
    }

    async fn drill_at(&self, agent: AgentId, drill: &Drill) -> Result<(DrillResult, u64), CallError> {
        let body = serde_json::to_vec(drill).map_err(|error| CallError::Malformed(error.to_string()))?;
        match self.parts.network.call(agent, Ask::Drill, body.into(), PATIENCE).await? {
            (Answer::Drilled { result, took_ms }, _) => Ok((result, took_ms)),
            _ => Err(CallError::Malformed("another answer than what a drill found".to_owned())),
        }
    }
}

impl Books {
    /// The newest archive that is whole at a peer which answers, and who answers.
    fn newest_held(&self) -> Option<(ArchiveId, shoal_backup::ObjectName, Vec<AgentId>)> {
        self.archives.iter().rev().find_map(|archive| {
            let number = archive.number?;
            let protection = self.replication.protection(number)?;
            let is_reachable = |agent: &AgentId| self.peers.get(agent).is_some_and(|peer| peer.is_reachable);
            let holders = self.replication.peers().filter(is_reachable).collect();
            (protection.reachable > 0).then_some((number, archive.name, holders))
        })
    }

    fn note_drill(&mut self, proof: &Proof) -> Result<(), OwnerError> {
        self.state.drills = self.state.drills.wrapping_add(1);
        self.state.last_drill_ms = Some(proof.at_ms);
        self.state.failed_drill = (!proof.result.is_proof()).then_some((proof.at_ms, proof.result.bad_files.max(1)));
        if proof.result.is_proof() {
            self.state.proof = Some(proof.clone());
            tracing::info!(archive = proof.archive.0, files = proof.result.good_files, "a restore drill went well");
        } else {
            tracing::error!(archive = proof.archive.0, bad_files = proof.result.bad_files, "a restore drill failed");
        }
        self.save()
    }
}
