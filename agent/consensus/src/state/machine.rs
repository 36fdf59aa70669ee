//! The state as openraft wants it. Every call does its work on a blocking thread.

use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{ErrorSubject, ErrorVerb, RaftSnapshotBuilder};

use super::{StateStore, StateTransfer};
use crate::types::{Entry, LogId, Raft, Snapshot, SnapshotMeta, StorageError, StoredMembership};

/// The state machine. Clones share the state.
#[derive(Clone)]
pub(crate) struct StateMachine(Arc<StateStore>);

impl StateMachine {
    pub(crate) fn new(state: Arc<StateStore>) -> Self {
        Self(state)
    }

    async fn blocking<T, E>(
        &self,
        subject: ErrorSubject<dci_proto::AgentId>,
        work: impl FnOnce(&StateStore) -> Result<T, E> + Send + 'static,
    ) -> Result<T, StorageError>
    where
        T: Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let state = Arc::clone(&self.0);
        let result = tokio::task::spawn_blocking(move || work(&state)).await;
        let result = result.map_err(std::io::Error::other).and_then(|result| result.map_err(std::io::Error::other));
        result.map_err(|error| {
            self.0.set_failed();
            StorageError::from_io_error(subject, ErrorVerb::Write, error)
        })
    }

    /// A snapshot is a durable state; its rows are read only when a newcomer needs them.
    async fn snapshot(&self) -> Result<Snapshot, StorageError> {
        let view = self
            .blocking(ErrorSubject::Snapshot(None), |state| {
                // Taken first: the checkpoint covers it, and may cover more.
                let view = state.view();
                state.checkpoint().map(|_| view)
            })
            .await?;
        let meta = SnapshotMeta {
            last_log_id: view.applied,
            last_membership: view.membership.clone(),
            snapshot_id: view.applied.map_or_else(|| "empty".to_owned(), |id| id.to_string()),
        };
        Ok(Snapshot { meta, snapshot: Box::new(StateTransfer::Outgoing(view)) })
    }
}

impl RaftStateMachine<Raft> for StateMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let view = self.0.view();
        Ok((view.applied, view.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<super::store::EntryResults>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.blocking(ErrorSubject::StateMachine, move |state| state.apply(&entries)).await
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<StateTransfer>, StorageError> {
        let incoming = self.blocking(ErrorSubject::Snapshot(None), StateStore::begin_incoming).await?;
        Ok(Box::new(StateTransfer::Incoming(Box::new(incoming))))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<StateTransfer>,
    ) -> Result<(), StorageError> {
        let meta = meta.clone();
        self.blocking(ErrorSubject::Snapshot(Some(meta.signature())), move |state| match *snapshot {
            StateTransfer::Incoming(incoming) => state.install(*incoming, &meta),
            StateTransfer::Outgoing(_) => Err(crate::ConsensusError::Format("a snapshot of ours came back".into())),
        })
        .await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let snapshot = self.snapshot().await?;
        Ok(snapshot.meta.last_log_id.is_some().then_some(snapshot))
    }
}

impl RaftSnapshotBuilder<Raft> for StateMachine {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        self.snapshot().await
    }
}
