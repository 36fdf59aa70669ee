//! Names, properties and locks: what the ledger knows, read from the local copy and changed by command.

use shoal_ledger::{
    Command, Guard, Lock, LockRequest, Node, NodePath, Outcome, Property, PropertyPatch, VolumeRecord, query,
};

use crate::{Drive, DriveError};

impl Drive {
    /// Makes what follows see all that was acknowledged anywhere before. True: it does. False: the quorum cannot be
    /// reached, what follows may be stale (readers are told).
    pub async fn refresh(&self) -> bool {
        match self.shared.ledger.barrier().await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "the local copy of the ledger may be stale");
                false
            }
        }
    }

    /// The volumes, from the local copy (no refresh).
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>, DriveError> {
        Ok(query::volumes(&*self.shared.view()?)?)
    }

    /// What stands at a path; `None` for nothing. From the local copy (no refresh): call [`Self::refresh`] once a
    /// request.
    pub fn node(&self, path: &NodePath) -> Result<Option<Node>, DriveError> {
        Ok(query::node(&*self.shared.view()?, path)?)
    }

    /// Up to `limit` nodes in a folder after the name `after`, in order. From the local copy (no refresh).
    pub fn children(&self, folder: &Node, after: Option<&str>, limit: usize) -> Result<Vec<Node>, DriveError> {
        let mut children = Vec::new();
        if limit > 0 {
            query::children(&*self.shared.view()?, folder.inode, after, &mut |child| {
                children.push(child);
                children.len() < limit
            })?;
        }
        Ok(children)
    }

    /// Dead properties of a node. From the local copy (no refresh).
    pub fn properties(&self, node: &Node) -> Result<Vec<Property>, DriveError> {
        if !node.has_properties {
            return Ok(Vec::new());
        }
        Ok(query::properties(&*self.shared.view()?, node.inode)?)
    }

    /// Locks that cover a path; `below`: those on or below it instead. From the local copy (no refresh).
    pub fn locks(&self, path: &NodePath, below: bool) -> Result<Vec<Lock>, DriveError> {
        let view = self.shared.view()?;
        Ok(if below { query::locks_below(&*view, path) } else { query::locks_covering(&*view, path) }?)
    }

    /// Makes a folder.
    pub async fn make_folder(&self, path: &NodePath, guard: Guard) -> Result<Node, DriveError> {
        let command = Command::MakeFolder { path: path.clone(), guard, modified_ms: None };
        Ok(self.change_node(command).await?.0)
    }

    /// Removes a file or a folder with everything in it.
    pub async fn remove(&self, path: &NodePath, guard: Guard) -> Result<(), DriveError> {
        self.change(Command::Remove { path: path.clone(), guard }).await.map(drop)
    }

    /// Renames or moves; true if nothing was at the destination.
    pub async fn rename(
        &self,
        from: &NodePath,
        to: &NodePath,
        overwrite: bool,
        guard: Guard,
    ) -> Result<bool, DriveError> {
        let command = Command::Rename { from: from.clone(), to: to.clone(), overwrite, guard };
        Ok(self.change_node(command).await?.1)
    }

    /// Copies; true if nothing was at the destination.
    pub async fn copy(
        &self,
        from: &NodePath,
        to: &NodePath,
        overwrite: bool,
        deep: bool,
        guard: Guard,
    ) -> Result<bool, DriveError> {
        let command = Command::Copy { from: from.clone(), to: to.clone(), overwrite, deep, guard };
        Ok(self.change_node(command).await?.1)
    }

    /// Sets times, in ms since 1970 UTC.
    pub async fn set_times(
        &self,
        path: &NodePath,
        modified_ms: Option<i64>,
        created_ms: Option<i64>,
        guard: Guard,
    ) -> Result<(), DriveError> {
        self.change(Command::SetTimes { path: path.clone(), guard, modified_ms, created_ms }).await.map(drop)
    }

    /// Changes dead properties, all or none.
    pub async fn patch_properties(
        &self,
        path: &NodePath,
        patches: Vec<PropertyPatch>,
        guard: Guard,
    ) -> Result<(), DriveError> {
        self.change(Command::PatchProperties { path: path.clone(), guard, patches }).await.map(drop)
    }

    /// Takes a lock; true if an empty file had to be made.
    pub async fn lock(&self, request: LockRequest, guard: Guard) -> Result<(Lock, bool), DriveError> {
        match self.change(Command::Lock { request, guard }).await? {
            Outcome::Lock { lock, created } => Ok((lock, created)),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets a lock live longer.
    pub async fn refresh_lock(
        &self,
        token: &str,
        path: &NodePath,
        user: &str,
        timeout_s: u32,
    ) -> Result<Lock, DriveError> {
        let (token, user) = (token.to_owned(), user.to_owned());
        match self.change(Command::RefreshLock { token, path: path.clone(), user, timeout_s }).await? {
            Outcome::Lock { lock, .. } => Ok(lock),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a lock.
    pub async fn unlock(&self, token: &str, path: &NodePath, user: &str) -> Result<(), DriveError> {
        let (token, user) = (token.to_owned(), user.to_owned());
        self.change(Command::Unlock { token, path: path.clone(), user }).await.map(drop)
    }

    pub(crate) async fn change(&self, command: Command) -> Result<Outcome, DriveError> {
        if !matches!(command, Command::Remove { .. } | Command::Rename { .. } | Command::Unlock { .. }) {
            self.shared.admit()?;
        }
        Ok(self.shared.ledger.submit(command).await?)
    }

    async fn change_node(&self, command: Command) -> Result<(Node, bool), DriveError> {
        match self.change(command).await? {
            Outcome::Node { node, created } => Ok((node, created)),
            other => Err(unexpected(&other)),
        }
    }
}

/// The ledger carried a command out and answered with what does not belong to it: it runs another version.
pub(crate) fn unexpected(outcome: &Outcome) -> DriveError {
    let answer = std::mem::discriminant(outcome);
    tracing::error!(?answer, "the ledger's answer does not belong to the command");
    DriveError::Interrupted("the ledger")
}
