//! What this PC's disk lost of its own repository comes back from its holders, checked by its hash.

use std::sync::Arc;

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup::Object;

use super::error::OwnerError;
use super::{Owner, Setup, blocking, rate};
use crate::call::{Ask, PIECE_LIMIT_BYTES};
use crate::files::{FilesError, Objects};

impl Owner {
    /// Fetches all that is missing and that somebody who answers has; true if something came.
    pub(super) async fn fetch_missing(&self, setup: &Setup) -> Result<bool, OwnerError> {
        self.pack_lost_again(setup);
        let wanted: Vec<(Object, Vec<AgentId>)> = {
            let books = setup.books();
            let is_reachable = |agent: &AgentId| books.peers.get(agent).is_some_and(|peer| peer.is_reachable);
            let from = |object: &Object| -> Vec<AgentId> {
                let mut holders: Vec<AgentId> = books.replication.holders(&object.name).collect();
                holders.retain(is_reachable);
                holders
            };
            let wanted = books.missing.values().map(|object| (*object, from(object)));
            wanted.filter(|(_, holders)| !holders.is_empty()).collect()
        };
        let mut wanted = wanted;
        // So that at every moment what is there can be read.
        wanted.sort_by_key(|(object, _)| object.kind);
        let mut came = false;
        for (object, holders) in wanted {
            match self.fetch(&setup.objects, &object, &holders).await {
                Ok(()) => came = true,
                Err(error @ OwnerError::Files(FilesError::Full { .. })) => return Err(error),
                Err(error) => tracing::debug!(%error, object = %object.name, "an object did not come back"),
            }
        }
        if came {
            setup.books().is_untold = true;
        }
        Ok(came)
    }

    /// Fetches an object from the first of these that gives the right bytes.
    pub(super) async fn fetch(
        &self,
        objects: &Arc<Objects>,
        object: &Object,
        holders: &[AgentId],
    ) -> Result<(), OwnerError> {
        let mut last = OwnerError::Files(FilesError::NotFound(object.name));
        for holder in holders {
            match self.fetch_from(objects, object, *holder).await {
                Ok(()) => return Ok(()),
                Err(error @ OwnerError::Files(FilesError::Full { .. })) => return Err(error),
                Err(error) => last = error,
            }
            // The next one's bytes may be other ones.
            let (objects, name) = (Arc::clone(objects), object.name);
            blocking(move || Ok(objects.discard(&name)?)).await?;
        }
        Err(last)
    }

    async fn fetch_from(&self, objects: &Arc<Objects>, object: &Object, holder: AgentId) -> Result<(), OwnerError> {
        let (name, mut offset) = (object.name, 0);
        let limit = self.bandwidth_kib_s();
        let length = u32::try_from(rate::piece_bytes(limit, PIECE_LIMIT_BYTES)).unwrap_or(PIECE_LIMIT_BYTES);
        while offset < object.size_bytes {
            self.rate.take(u64::from(length).min(object.size_bytes - offset), limit).await;
            let ask = Ask::Get { owner: self.own(), name, offset, length };
            let (_, piece) = self.call(holder, ask, Bytes::new()).await.map_err(|_| FilesError::NotFound(name))?;
            if piece.is_empty() || piece.len() as u64 > object.size_bytes - offset {
                return Err(FilesError::WrongHash(name).into());
            }
            let (objects, at) = (Arc::clone(objects), offset);
            offset = blocking(move || Ok(objects.write_piece(&name, at, &piece)?)).await?;
        }
        let (objects, kind) = (Arc::clone(objects), object.kind);
        blocking(move || Ok(objects.finish(kind, &name)?)).await?;
        Ok(())
    }
}
