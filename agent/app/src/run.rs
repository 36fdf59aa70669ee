//! An agent that runs, and its end.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use shoal_net::Net;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::api::types::LocalCredentials;
use crate::api::{self, Api};
use crate::config::AgentConfig;
use crate::context::AgentContext;
use crate::data_directory::DataDirectory;
use crate::handler::AgentHandler;
use crate::join::{Doorkeeper, standing};
use crate::recover::swap;
use crate::start::{Entry, start};
use crate::{room, secret_file};

/// How long tasks may take to end before they are cut off.
const END_DEADLINE: Duration = Duration::from_secs(12);

/// A running agent. Dropping it ends it without a goodbye; [`Agent::stop`] ends it cleanly and waits for that.
pub struct Agent {
    context: Arc<AgentContext>,
    ways_in: WaysIn,
    tasks: JoinSet<()>,
    // Last: the directory is free for another agent only when everything else is gone.
    _directory: Arc<DataDirectory>,
}

/// Where other agents come in.
pub(crate) struct WaysIn {
    pub(crate) net: Arc<Net>,
    pub(crate) handler: AgentHandler,
    pub(crate) doorkeeper: Doorkeeper,
}

impl Agent {
    pub(crate) fn new(
        context: Arc<AgentContext>,
        ways_in: WaysIn,
        directory: Arc<DataDirectory>,
        tasks: JoinSet<()>,
    ) -> Self {
        Self { context, ways_in, tasks, _directory: directory }
    }

    /// The agent as its doors see it.
    #[must_use]
    pub fn context(&self) -> &Arc<AgentContext> {
        &self.context
    }

    /// Serves console and API on a listener, and lets the CLI of this computer in.
    pub(crate) fn serve_api(&mut self, listener: TcpListener) -> Result<(), AgentError> {
        let context = &self.context;
        let tls = context.tls.for_address(context.config.api)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut address = context.config.api;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        let credentials = LocalCredentials {
            api: format!("{scheme}://{address}"),
            token: context.credentials.local_token().to_owned(),
        };
        let text = serde_json::to_vec_pretty(&credentials).map_err(|error| AgentError::Internal(error.to_string()))?;
        secret_file::replace(&context.data().join(LocalCredentials::FILE_NAME), &text)?;
        let api = Api::new(context.clone());
        self.tasks.spawn(api::serve_socket(api.clone(), context.data().to_owned(), context.shutdown.clone()));
        self.tasks.spawn(api::serve(listener, tls, api, context.shutdown.clone()));
        Ok(())
    }

    /// Ends it cleanly: what runs first, in its own time, then the ways in, then the ledger.
    pub async fn stop(mut self) {
        self.context.shutdown.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(END_DEADLINE, ended).await.is_err() {
            tracing::warn!("some work did not end in time and was cut off");
        }
        self.cut_off().await;
    }

    /// Ends it without a goodbye, as losing the PC would, and waits until its ports and directory are free.
    pub async fn cut_off(&mut self) {
        self.context.shutdown.cancel();
        self.tasks.shutdown().await;
        self.ways_in.net.shutdown().await;
        self.ways_in.close();
        if let Some(consensus) = &self.context.consensus {
            consensus.shutdown().await;
        }
    }
}

impl WaysIn {
    fn close(&self) {
        self.handler.clear();
        self.doorkeeper.clear();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.context.shutdown.cancel();
        self.tasks.abort_all();
        self.ways_in.close();
    }
}

/// Runs an agent until `shutdown`, or until it is asked to stop through its API. One whose disk is full waits for room
/// and goes on; one that hears that the pool was recovered without it joins anew; one that was
/// struck off serves nothing any more and says so.
///
/// # Errors
/// If it cannot start, or its ledger fails for another reason than want of room.
pub async fn run(
    config: AgentConfig,
    entry: Entry,
    shutdown: CancellationToken,
    mut started: impl FnMut(&AgentContext, Option<&crate::start::FirstStart>) + Send,
) -> Result<(), AgentError> {
    let mut entry = entry;
    loop {
        room::to_start(&config, &shutdown).await;
        let ended = run_once(config.clone(), entry, &shutdown, &mut started).await;
        let Err(error) = ended else { return Ok(()) };
        match error {
            AgentError::Overtaken { group, last } => swap::begin_anew(&config.data, group, last)?,
            AgentError::StruckOff => standing::note_struck_off(&config.data)?,
            error if room::after(&error, &config, &shutdown).await => {}
            error => return Err(error),
        }
        entry = Entry::Usual;
    }
}

async fn run_once(
    config: AgentConfig,
    entry: Entry,
    shutdown: &CancellationToken,
    started: &mut (impl FnMut(&AgentContext, Option<&crate::start::FirstStart>) + Send),
) -> Result<(), AgentError> {
    // A start can take long (waiting for approval); being asked to stop ends that too.
    let Some(agent) = shutdown.run_until_cancelled(Box::pin(start(config, entry))).await else { return Ok(()) };
    let agent = agent?;
    started(agent.agent.context(), agent.first.as_ref());
    let stop = agent.agent.context().shutdown_token();
    let consensus = agent.agent.context().consensus.clone();
    let struck_off = agent.agent.context().struck_off.clone();
    let overtaken = async {
        match &agent.agent.context().consensus {
            Some(consensus) => (consensus.overtaken().await, consensus.status().last_log),
            None => std::future::pending().await,
        }
    };
    let ledger_fails = async {
        match consensus {
            Some(consensus) => consensus.failure().await,
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        () = stop.cancelled() => Ok(()),
        () = struck_off.cancelled() => Err(AgentError::StruckOff),
        (group, last) = overtaken => Err(AgentError::Overtaken { group, last }),
        // Going on without it would answer everybody with errors that tell nothing.
        reason = ledger_fails => Err(AgentError::LedgerFailed { path: agent.agent.context().data().join("ledger"), reason }),
    };
    agent.agent.stop().await;
    outcome
}
