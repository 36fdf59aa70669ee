//! The keeper at work: run by whichever agent leads the ledger, which has the others rebuild shards, give them on and cut
//! stripes anew. What is to be done is decided in `shoal_care`; here it is carried out.

mod board;
mod certificate;
mod recut;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use dci_proto::AgentId;
use shoal_care::{Done, Effect, Keeper, KeeperConfig, Reason, RebuildJob, RecutJob};
use shoal_consensus::Consensus;
use shoal_ledger::{Command, LedgerClient, Outcome, SubmitError, query};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::data_directory::Secret;
use crate::health::Health;
use crate::membership::is_leader;
use crate::peers::Peers;
use crate::wire::ShardRebuild;

pub use board::KeepingStats;
pub(crate) use board::{KeepingBoard, ask_leader};
pub(crate) use certificate::{is_genuine, statement};
pub(crate) use recut::{Recutter, recut_here};
pub(crate) use wanted::WantedBook;

/// Time between two looks while nothing happens.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Answers that come together are taken in together.
const GATHER: Duration = Duration::from_millis(20);
/// Answers that wait to be taken in, at most; the keeper never has more under way.
const ANSWERS_LIMIT: usize = 8_192;

/// Runs the keeper whenever this agent leads.
pub(crate) struct Keeping {
    pub(crate) agent: AgentId,
    pub(crate) consensus: Consensus,
    pub(crate) ledger: Arc<dyn LedgerClient>,
    pub(crate) health: Arc<Health>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) recutter: Arc<Recutter>,
    pub(crate) board: Arc<KeepingBoard>,
    pub(crate) key: Secret,
}

/// What one time of leading works with.
struct Reign {
    keeper: Keeper,
    wanted: WantedBook,
    answers: mpsc::Receiver<Done>,
    answer: mpsc::Sender<Done>,
    jobs: JoinSet<()>,
    begin: Instant,
}

impl Keeping {
    /// Works until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let this = Arc::new(self);
        let mut leading = this.consensus.status_changes();
        loop {
            if is_leader(&this.consensus, this.agent) {
                if shutdown.run_until_cancelled(this.reign()).await.is_none() {
                    return;
                }
                this.board.clear();
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = leading.changed() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// Works until another agent leads.
    async fn reign(self: &Arc<Self>) {
        let (answer, answers) = mpsc::channel(ANSWERS_LIMIT);
        let keeper = Keeper::new(KeeperConfig::default());
        let (wanted, jobs, begin) = (WantedBook::default(), JoinSet::new(), Instant::now());
        let mut reign = Reign { keeper, wanted, answers, answer, jobs, begin };
        while is_leader(&self.consensus, self.agent) {
            match self.round(reign).await {
                Ok(next) => reign = next,
                Err(error) => {
                    tracing::warn!(%error, "the volume is not looked after for now");
                    return;
                }
            }
            while reign.jobs.try_join_next().is_some() {}
            tokio::select! {
                Some(done) = reign.answers.recv() => {
                    reign.keeper.done(reign.begin.elapsed(), done);
                    tokio::time::sleep(GATHER).await;
                    while let Ok(done) = reign.answers.try_recv() {
                        reign.keeper.done(reign.begin.elapsed(), done);
                    }
                }
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// Decides on the ledger as it is and sets going what is to be done.
    async fn round(self: &Arc<Self>, mut reign: Reign) -> Result<Reign, AgentError> {
        let (view, health, now) = (self.ledger.view()?, self.health.clone(), reign.begin.elapsed());
        let decide = move || {
            let agents = health.facts(&*view)?;
            let wanted = reign.wanted.read(&*view, now)?;
            reign.keeper.set_recut_after(Duration::from_secs(query::care_policy(&*view)?.restripe_after_s));
            let effects = reign.keeper.step(now, &*view, &agents, &wanted)?;
            let drained = certificate::due(&*view, &agents)?;
            Ok::<_, AgentError>((reign, effects, drained))
        };
        let decided = tokio::task::spawn_blocking(decide).await;
        let (mut reign, effects, drained) = decided.map_err(|error| AgentError::Internal(error.to_string()))??;
        self.board.set(reign.keeper.progress());
        for effect in effects {
            let (this, answer) = (self.clone(), reign.answer.clone());
            reign.jobs.spawn(async move {
                let done = this.carry_out(effect).await;
                // Nobody listens any more once another agent leads.
                let _ = answer.send(done).await;
            });
        }
        for agent in drained {
            if let Err(error) = self.certify(agent).await {
                tracing::debug!(%agent, %error, "an emptied agent has no certificate yet");
            }
        }
        Ok(reign)
    }

    async fn carry_out(&self, effect: Effect) -> Done {
        match effect {
            Effect::Submit(ticket, command) => Done::Submitted(ticket, self.submit(command).await),
            Effect::Rebuild(ticket, job) => Done::Worked(ticket, self.rebuild(job).await),
            Effect::Recut(ticket, job) => Done::Worked(ticket, self.recut(job).await),
        }
    }

    /// `None`: it is not known whether the ledger did anything.
    async fn submit(&self, command: Command) -> Option<Outcome> {
        match self.ledger.submit(command).await {
            Ok(outcome) => Some(outcome),
            Err(SubmitError::Rejected(rejection)) => {
                tracing::warn!(%rejection, "the ledger refused what keeps the volume whole");
                Some(Outcome::Accepted(Vec::new()))
            }
            Err(error) => {
                tracing::debug!(%error, "what the ledger made of it will be seen");
                None
            }
        }
    }

    async fn rebuild(&self, job: RebuildJob) -> bool {
        let urgent = job.reason == Reason::Endangered;
        let asked = ShardRebuild { copy_from: job.copy_from, urgent, ..ShardRebuild::of(job.key, &job.record) };
        match self.peers.rebuild(job.to, &asked).await {
            Ok(rebuilt) => {
                self.board.rebuilt(rebuilt.read_bytes, rebuilt.written_bytes);
                true
            }
            Err(error) => {
                tracing::info!(key = %job.key, to = %job.to, %error, "a shard could not be made there; it is tried again");
                self.board.failed();
                false
            }
        }
    }

    async fn recut(&self, job: RecutJob) -> bool {
        match self.recutter.ask(job.executor, &job).await {
            // There was nothing to do, or not by what that agent knows: looked at again later.
            Ok(done) if done.written_bytes == 0 => false,
            Ok(done) => {
                self.board.recut(done.read_bytes, done.written_bytes);
                true
            }
            Err(error) => {
                tracing::info!(stripe = %job.stripe, %error, "a stripe could not be cut anew; it is tried again");
                self.board.failed();
                false
            }
        }
    }

    /// Signs that nothing counts on an agent any more, and has the ledger keep it.
    async fn certify(&self, agent: AgentId) -> Result<(), AgentError> {
        let view = self.ledger.view()?;
        let pool = query::pool(&*view)?.ok_or(AgentError::NoPoolYet)?.id;
        let (position, issued_ms) = (query::position(&*view)?, self.ledger.time_ms()?);
        let certificate = certificate::sign(pool, agent, position, issued_ms, self.agent, &self.key)?;
        self.ledger.submit(Command::PutCertificate { certificate }).await?;
        tracing::info!(%agent, "emptied; its certificate is in the ledger");
        Ok(())
    }
}
