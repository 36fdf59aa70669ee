//! Encrypted copies of the ledger on every store: should all voters be gone for good, the pool is recovered from the
//! newest one.
//!
//! The leader reads its state row by row, encrypts it (`sealed`) and sends it round in pieces; each store keeps the
//! newest two (`shelf`). Stores cannot read them.

mod sealed;
mod shelf;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dci_proto::{AgentId, PoolId};
use futures::future::join_all;
use shoal_consensus::Consensus;
use shoal_net::{Lane, Network};
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::data_directory::Secret;
use crate::health::Health;
use crate::membership::is_leader;
use crate::wire::{self, Method};

pub(crate) use crate::wire::CopyPiece;
pub(crate) use sealed::Sealer;
pub use sealed::{Opener, SealedError};
pub(crate) use shelf::CopyShelf;

/// Bytes of a piece sent at once.
const PIECE_BYTES: usize = 1024 * 1024;
/// How long a store may take to keep a piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// A fresh leader waits this long before its first copy, so that short reigns make none.
const FIRST_COPY_AFTER: Duration = Duration::from_secs(60);

/// What it takes to send copies round.
pub(crate) struct CopySender {
    pub(crate) agent: AgentId,
    pub(crate) pool: PoolId,
    pub(crate) pool_key: Secret,
    pub(crate) consensus: Consensus,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) health: Arc<Health>,
    pub(crate) shelf: Option<Arc<CopyShelf>>,
}

impl CopySender {
    /// Sends copies round until `shutdown`, whenever this agent leads.
    pub(crate) async fn run(self, interval: Duration, shutdown: CancellationToken) {
        let mut wait = FIRST_COPY_AFTER.min(interval);
        while shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            wait = interval;
            if !is_leader(&self.consensus, self.agent) {
                wait = FIRST_COPY_AFTER.min(interval);
                continue;
            }
            match shutdown.run_until_cancelled(self.send_round()).await {
                Some(Ok(stores)) => tracing::info!(stores, "sent a copy of the ledger round"),
                Some(Err(error)) => tracing::warn!(%error, "a copy of the ledger could not be made"),
                None => return,
            }
        }
    }

    /// Makes a copy and has every store that answers keep it; returns how many did.
    pub(crate) async fn send_round(&self) -> Result<usize, AgentError> {
        let mut dump = self.consensus.snapshot_state();
        let copy = dump.position();
        let mut sealer = Sealer::new(&self.pool_key, self.pool, copy)?;
        let mut stores = self.stores();
        let mut sent = Sent { copy, offset: 0, hasher: blake3::Hasher::new() };
        let mut piece = BytesMut::from(sealer.head());
        loop {
            let (returned, row_piece) = tokio::task::spawn_blocking(move || {
                let row_piece = dump.next_piece();
                (dump, row_piece)
            })
            .await
            .map_err(|error| AgentError::Internal(error.to_string()))?;
            dump = returned;
            let Some(rows) = row_piece? else { break };
            for part in rows.chunks(sealed::FRAME_LIMIT_BYTES) {
                sealer.seal(part, &mut piece)?;
                if piece.len() >= PIECE_BYTES {
                    self.send(&mut sent, piece.split().freeze(), false, &mut stores).await?;
                }
            }
        }
        sealer.finish(&mut piece)?;
        while piece.len() > PIECE_BYTES {
            self.send(&mut sent, piece.split_to(PIECE_BYTES).freeze(), false, &mut stores).await?;
        }
        self.send(&mut sent, piece.freeze(), true, &mut stores).await?;
        Ok(stores.len())
    }

    fn stores(&self) -> Vec<AgentId> {
        let candidates = self.health.candidates(&*self.network).into_iter();
        let answering = candidates.filter(|candidate| self.health.answers(candidate.agent));
        answering.map(|candidate| candidate.agent).collect()
    }

    /// Sends a piece to the stores that kept all before it; who fails gets no further one.
    async fn send(
        &self,
        sent: &mut Sent,
        bytes: Bytes,
        last: bool,
        stores: &mut Vec<AgentId>,
    ) -> Result<(), AgentError> {
        sent.hasher.update(&bytes);
        let complete = last.then(|| *sent.hasher.finalize().as_bytes());
        let piece = CopyPiece { copy: sent.copy, offset: sent.offset, complete };
        sent.offset += bytes.len() as u64;
        let kept = join_all(stores.iter().map(|store| self.send_to(*store, piece.clone(), bytes.clone()))).await;
        let mut kept = kept.into_iter();
        stores.retain(|_| kept.next().unwrap_or(false));
        Ok(())
    }

    async fn send_to(&self, store: AgentId, piece: CopyPiece, bytes: Bytes) -> bool {
        if store == self.agent {
            let Some(shelf) = &self.shelf else { return false };
            return shelf.take(piece, bytes).await.is_ok();
        }
        let Ok(request) = wire::request_with_body(Method::CopyPiece, &piece, bytes) else { return false };
        let answer = self.network.call(store, Lane::Background, request, PIECE_TIMEOUT).await;
        answer.is_ok_and(|response| wire::check(&response).is_ok())
    }
}

struct Sent {
    copy: u64,
    offset: u64,
    hasher: blake3::Hasher,
}
