//! Stripes cut anew, by this agent or by another that can read and write files.

use std::sync::Arc;
use std::time::Duration;

use dci_proto::AgentId;
use shoal_care::pace::Class;
use shoal_care::{Reason, RecutJob};
use shoal_net::{Lane, Network};
use shoal_volume::{Drive, Recut};
use tokio::sync::Semaphore;

use crate::AgentError;
use crate::machine::Background;
use crate::wire::{self, Method, StripeRecut, StripeRecutDone};

/// How long an agent is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(240);
/// Stripes this agent cuts anew at once; each takes the memory of a chunk and its shards.
const AT_ONCE: usize = 2;

/// Has stripes cut anew.
pub(crate) struct Recutter {
    agent: AgentId,
    network: Arc<dyn Network>,
    drive: Option<Drive>,
    background: Arc<Background>,
    places: Semaphore,
}

impl Recutter {
    pub(crate) fn new(
        agent: AgentId,
        network: Arc<dyn Network>,
        drive: Option<Drive>,
        background: Arc<Background>,
    ) -> Self {
        Self { agent, network, drive, background, places: Semaphore::new(AT_ONCE) }
    }

    /// Has an agent do it; answers when the ledger has taken the new stripe.
    pub(super) async fn ask(&self, executor: AgentId, job: &RecutJob) -> Result<StripeRecutDone, AgentError> {
        let urgent = job.reason == Reason::Endangered;
        let idle = job.reason == Reason::Recut;
        let asked = StripeRecut { stripe: job.stripe, survive: job.survive, urgent, idle };
        if executor == self.agent {
            return recut_here(self, &asked).await;
        }
        let failed = |error: &dyn std::fmt::Display| AgentError::Internal(error.to_string());
        let request = wire::request(Method::StripeRecut, &asked).map_err(|error| failed(&error))?;
        let call = self.network.call(executor, Lane::Foreground, request, ANSWER_TIMEOUT);
        let response = call.await.map_err(|error| failed(&error))?;
        wire::done(&response).map_err(|error| failed(&error))
    }
}

/// Cuts a stripe anew here.
pub(crate) async fn recut_here(recutter: &Recutter, asked: &StripeRecut) -> Result<StripeRecutDone, AgentError> {
    let failed = |reason: String| AgentError::Internal(reason);
    let drive = recutter.drive.as_ref().ok_or_else(|| failed("this agent serves no drive".into()))?;
    let _place = recutter.places.acquire().await.map_err(|error| failed(error.to_string()))?;
    let class = match asked {
        StripeRecut { urgent: true, .. } => Class::Endangered,
        StripeRecut { idle: true, .. } => Class::Idle,
        _ => Class::Repair,
    };
    let _turn = recutter.background.turn(class).await;
    match drive.recut(asked.stripe, asked.survive).await {
        Ok(Recut::Done { read_bytes, written_bytes }) => Ok(StripeRecutDone { read_bytes, written_bytes }),
        Ok(Recut::Needless) => Ok(StripeRecutDone::default()),
        Err(error) => Err(failed(error.to_string())),
    }
}
