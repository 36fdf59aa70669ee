//! A stripe cut anew: for other agents than it was cut for, or to be safer. Its content stays; the old stripe becomes garbage
//! when the ledger has taken the new one.

use std::collections::BTreeSet;
use std::sync::Arc;

use dci_proto::StripeId;
use shoal_ledger::{Command, Outcome, SubmitError, query};

use crate::fetch::{Stripe, fetch_as};
use crate::litter::fresh;
use crate::shared::{KeepPolicy, Shared};
use crate::stats::add;
use crate::stripe::PLAIN;
use crate::upload::{reseal, send, targets};
use crate::{Drive, DriveError, Urgency};

/// What became of a stripe that was to be cut anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recut {
    /// Its content stands on a new stripe.
    Done {
        /// Bytes of shards read.
        read_bytes: u64,
        /// Bytes of shards written.
        written_bytes: u64,
    },
    /// There was nothing to do: it is gone, or cut as it should be and all of it where it belongs.
    Needless,
}

impl Drive {
    /// Cuts a stripe anew so that it survives the loss of `survive` of the agents there are now. Nobody waits for it. The
    /// new stripe takes the old one's place only if every shard of it is durable.
    ///
    /// # Errors
    /// If the content cannot be read, or the new stripe not be kept in full; the old one stays as it is then.
    pub async fn recut(&self, stripe: StripeId, survive: u8) -> Result<Recut, DriveError> {
        let shared: &Arc<Shared> = &self.shared;
        let Some(record) = query::stripe(&*shared.view()?, stripe)? else { return Ok(Recut::Needless) };
        let policy = KeepPolicy { survive, compress: record.compression != PLAIN };
        let mut excluded = BTreeSet::new();
        let mut targets = targets(shared, policy, record.plain_bytes as usize, &excluded)?;
        targets.urgency = Urgency::Background;
        let up: BTreeSet<_> = shared.peers.candidates().iter().filter(|c| !c.suspect).map(|c| c.agent).collect();
        let bad = query::bad_places(&*shared.view()?, stripe, &record)?;
        let placed = record.shards.iter().all(|place| place.agent.is_some_and(|agent| up.contains(&agent)));
        if placed && bad.is_empty() && (targets.geometry.k, targets.geometry.m) == (record.k, record.m) {
            return Ok(Recut::Needless);
        }
        let permit = shared.work.acquire().await.map_err(|_| DriveError::Interrupted("the drive"))?;
        let content = record.content;
        let old = Stripe { id: stripe, record: Arc::new(record) };
        let plain = fetch_as(shared, &old, 0..old.record.plain_bytes, Urgency::Background).await?;
        let sealed = reseal(shared, policy, content, &plain, targets.geometry).await?;
        let (placed, mut litter, chunk) = send(shared, content, sealed, &targets, &mut excluded).await?;
        drop(permit);
        let Some(mut new) = chunk.new_stripe.filter(|_| placed.durable() == placed.places.len()) else {
            let (durable, wanted) = (placed.durable(), placed.places.len());
            return Err(DriveError::Unavailable(format!("only {durable} of {wanted} shards could be kept")));
        };
        new.replaces = Some(stripe);
        let bytes = |shards: usize, shard_bytes: u32| shards as u64 * u64::from(shard_bytes);
        let read_bytes = bytes(usize::from(old.record.k), old.record.shard_bytes);
        let written_bytes = bytes(new.record.shards.len(), new.record.shard_bytes);
        litter.set_submitted(true);
        let replace = fresh(litter.begun_ms(), Command::ReplaceStripes { stripes: vec![new] });
        let answer = shared.ledger.submit(replace).await;
        litter.set_submitted(!matches!(answer, Err(SubmitError::Rejected(_))));
        match answer? {
            Outcome::Accepted(parts) if parts == [true] => {
                add(&shared.counters.recut_stripes, 1);
                Ok(Recut::Done { read_bytes, written_bytes })
            }
            // Its content has gone, or stands on another stripe by now; the ledger has the new one dropped.
            _ => Ok(Recut::Needless),
        }
    }
}
