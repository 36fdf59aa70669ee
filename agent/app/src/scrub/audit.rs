//! After an end that was none, or a sleep of the machine: are all shards there? Looked at without reading them, so it takes
//! seconds where a scrub takes hours.

use shoal_care::pace::Class;

use super::{Ahead, Scrubber, TROUBLE_PAUSE, TURN_SHARDS, judge};

impl Scrubber {
    /// Looks whether all expected shards are there, without reading them: after an end that was none, or a sleep.
    pub(super) async fn audit(&self) {
        let (mut after, mut shards, mut found) = (None, 0u64, 0u64);
        loop {
            let share = match self.parts.holdings.share(after).await {
                Ok(share) => share,
                Err(error) => {
                    tracing::debug!(%error, "what this agent shall hold is not known yet");
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                    continue;
                }
            };
            self.measure(&share);
            let mut turn = None;
            for shard in share.page.shards {
                if shards.is_multiple_of(u64::from(TURN_SHARDS)) {
                    turn.take();
                    turn = Some(self.parts.background.turn(Class::Repair).await);
                }
                shards += 1;
                let info = self.parts.store.info(shard.key).await;
                match judge(shard, info) {
                    Ok(Some((wrong, detail))) => {
                        drop(turn.take());
                        found += u64::from(self.found(shard, wrong, &detail).await);
                    }
                    Ok(None) => {}
                    Err(error) => return tracing::warn!(%error, "the shards were not looked through"),
                }
            }
            after = share.page.next;
            if after.is_none() {
                break;
            }
        }
        tracing::info!(shards, found, "looked whether all shards are there");
        if found > 0 {
            self.name_findings(&mut Ahead::default()).await;
        }
        self.keep();
    }

    /// Looks after each sleep of the machine, once the ledger here is confirmed.
    pub(super) async fn audit_after_sleeps(&self) {
        let mut wake = self.parts.wake.subscribe();
        let mut looked = wake.borrow_and_update().times;
        while wake.changed().await.is_ok() {
            let woken = *wake.borrow_and_update();
            if woken.fresh && woken.times > looked {
                looked = woken.times;
                self.audit().await;
            }
        }
    }
}
