//! Seeing to it that the ledger has the pool and this agent in it, as far as that is possible now.

use std::sync::Arc;
use std::time::Duration;

use shoal_consensus::{Consensus, ConsensusError};
use shoal_ledger::{AgentRecord, Command, LedgerClient, UserRecord, UserRole, VolumePolicy, query};

use crate::AgentError;
use crate::auth::{generate_password, hash_password};
use crate::data_directory::Membership;
use crate::start::FirstStart;
use crate::ticket::now_ms;

/// How many agents a pool shall survive the loss of, until somebody says otherwise.
pub const SURVIVE_DEFAULT: u8 = 2;
/// The first volume of a pool.
pub const FIRST_VOLUME: &str = "pool";
/// The first user of a pool.
pub const FIRST_USER: &str = "admin";
/// How long a new member waits for its copy of the ledger before it goes on without.
const FIRST_COPY_WAIT: Duration = Duration::from_secs(60);
/// How long a member of old waits until its copy shows what it knew before.
const KNOWN_COPY_WAIT: Duration = Duration::from_secs(3);

/// What is needed to settle.
pub(crate) struct Settling<'a> {
    pub(crate) membership: &'a Membership,
    pub(crate) own: &'a AgentRecord,
    /// Whether the agent has only just become a member.
    pub(crate) fresh: bool,
    pub(crate) consensus: &'a Consensus,
    pub(crate) ledger: &'a Arc<dyn LedgerClient>,
}

impl Settling<'_> {
    /// Settles. What cannot be done without the others is no error: the agent goes on with what it knows.
    pub(crate) async fn settle(&self, password: Option<String>) -> Result<Option<FirstStart>, AgentError> {
        // A founder that joins a recovered pool anew has an empty ledger, but no pool to make.
        if self.membership.founder && self.consensus.group().generation == 0 {
            return self.make_pool(password).await;
        }
        let patience = if self.fresh { FIRST_COPY_WAIT } else { KNOWN_COPY_WAIT };
        if tokio::time::timeout(patience, self.wait_for_own_record()).await.is_err() {
            tracing::warn!("the ledger does not show this agent as a member (yet); going on");
        }
        Ok(None)
    }

    /// Each step is taken only if the ledger shows it was not taken before: a founder that was stopped halfway goes on
    /// here.
    async fn make_pool(&self, password: Option<String>) -> Result<Option<FirstStart>, AgentError> {
        // The first user comes last and the last admin stays: with a user there, all has been done.
        if !query::users(&*self.ledger.view()?)?.is_empty() {
            return Ok(None);
        }
        match self.consensus.initialize().await {
            Ok(()) | Err(ConsensusError::NotEmpty) => {}
            Err(error) => return Err(AgentError::Consensus(error.to_string())),
        }
        // What is in the log shows only once a leader has had it applied.
        if let Err(error) = self.ledger.barrier().await {
            tracing::warn!(%error, "going on with what this agent knows of its pool");
            return Ok(None);
        }
        if query::pool(&*self.ledger.view()?)?.is_none() {
            let (id, name) = (self.membership.pool, self.membership.pool_name.clone());
            let first = self.own.clone();
            self.ledger.submit(Command::CreatePool { id, name, survive: SURVIVE_DEFAULT, first }).await?;
            self.ledger.barrier().await?;
        }
        let view = self.ledger.view()?;
        let (users, volumes) = (query::users(&*view)?, query::volumes(&*view)?);
        drop(view);
        if !users.is_empty() {
            return Ok(None);
        }
        if volumes.is_empty() {
            let (name, policy) = (FIRST_VOLUME.to_owned(), VolumePolicy::default());
            self.ledger.submit(Command::CreateVolume { name, policy }).await?;
        }
        self.make_first_user(password).await.map(Some)
    }

    async fn make_first_user(&self, password: Option<String>) -> Result<FirstStart, AgentError> {
        let password = password.unwrap_or_else(generate_password);
        let password_hash = hash_password(&password).await?;
        let name = FIRST_USER.to_owned();
        let user = UserRecord { name: name.clone(), password_hash, role: UserRole::Admin, created_ms: now_ms() };
        self.ledger.submit(Command::PutUser(user)).await?;
        self.ledger.barrier().await?;
        Ok(FirstStart { user: name, password, volume: FIRST_VOLUME.to_owned() })
    }

    async fn wait_for_own_record(&self) {
        let mut position = 0;
        loop {
            let known = self.ledger.view().and_then(|view| query::agent(&*view, self.own.id));
            if matches!(known, Ok(Some(_))) {
                return;
            }
            position = self.ledger.changed(position).await;
        }
    }
}
