//! How this agent does: what it owes its owner, how far it can be relied on and how busy it is, looked at every few seconds, for its
//! pings to tell. Decides nothing itself (`shoal_care::standing`, `shoal_care::debt`, `shoal_care::pace`).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shoal_care::debt::{StoreOnDisk, owed_bytes};
use shoal_care::pace::Busyness;
use shoal_care::standing::{DiskHealth, Observed, StandingCore};
use shoal_store::{MultiStore, StoreState};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::load;
use super::metered_store::{StoreCounts, StoreMeter};
use super::smart::{self, SmartConfig};
use super::wake::Wake;
use crate::config::{self, StoreDirectory};
use crate::health::Health;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Time between two questions to the disks.
const ASK_DISKS_EVERY: Duration = Duration::from_secs(60 * 60);

/// An agent's own stores, to be looked after.
#[derive(Clone)]
pub(crate) struct OwnStores {
    pub(crate) stores: Arc<MultiStore>,
    pub(crate) meter: Arc<StoreMeter>,
}

/// Looks after this agent itself.
pub(crate) struct Checkup {
    pub(crate) health: Arc<Health>,
    pub(crate) wake: Wake,
    /// `None` on an agent that holds no shards.
    pub(crate) own: Option<OwnStores>,
    pub(crate) directories: Vec<StoreDirectory>,
    pub(crate) smart: SmartConfig,
}

impl Checkup {
    /// Looks until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let started = Instant::now();
        let (mut core, mut owed, mut busyness) = (StandingCore::default(), 0, Busyness::default());
        let mut disks: Vec<DiskHealth> = Vec::new();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (report, mut reports) = tokio::sync::mpsc::channel(1);
        let asking = self.ask_disks(report);
        tokio::pin!(asking);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = &mut asking => return,
                Some(told) = reports.recv() => disks = told,
                _ = looks.tick() => {}
            }
            owed = owed_bytes(&self.on_disk(), owed > 0);
            let standing = core.look(started.elapsed(), &self.observed(&disks));
            self.health.set_own(owed, standing);
            self.health.set_busy(load::cpu_times().and_then(|times| busyness.look(times)));
        }
    }

    /// Asks the disks at once and every hour, for ever.
    async fn ask_disks(&self, report: tokio::sync::mpsc::Sender<Vec<DiskHealth>>) {
        let directories = match &self.own {
            Some(_) => self.directories.iter().map(|store| store.directory.clone()).collect::<Vec<PathBuf>>(),
            None => Vec::new(),
        };
        loop {
            if !directories.is_empty() && report.send(smart::ask_all(&self.smart, &directories).await).await.is_err() {
                return;
            }
            tokio::time::sleep(ASK_DISKS_EVERY).await;
        }
    }

    fn observed(&self, disks: &[DiskHealth]) -> Observed {
        let counts = self.own.as_ref().map_or_else(StoreCounts::default, |own| own.meter.counts());
        Observed {
            disks: disks.to_vec(),
            failed_operations: counts.failed_operations,
            damaged_shards: counts.damaged_shards,
            absences: self.wake.now().times,
            latency_us: counts.read_means_us.0,
            usual_latency_us: counts.read_means_us.1,
        }
    }

    /// What lies where. Of a store that is away nothing is known, so nothing is owed.
    fn on_disk(&self) -> Vec<StoreOnDisk> {
        let Some(own) = &self.own else { return Vec::new() };
        let states = own.stores.states();
        let state_of = |store: &StoreDirectory| {
            states.iter().find(|state| Path::new(&state.name) == store.directory && state.problem.is_none())
        };
        let place = |store: &StoreDirectory| place(store, state_of(store)?);
        self.directories.iter().filter_map(place).collect()
    }
}

fn place(store: &StoreDirectory, state: &StoreState) -> Option<StoreOnDisk> {
    Some(StoreOnDisk {
        file_system: std::fs::metadata(&store.directory).ok()?.dev(),
        free_bytes: config::free_bytes(&store.directory).ok()?,
        reserve_bytes: store.reserve_bytes,
        used_bytes: state.space.used_bytes,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dci_proto::{AgentId, ShardKey, StripeId};
    use shoal_store::ShardStore as _;

    use super::*;
    use crate::config::{AgentConfig, Timing};

    #[tokio::test]
    async fn an_agent_whose_disk_is_fuller_than_the_reserve_allows_owes_what_its_shards_use() {
        let folder = tempfile::tempdir().expect("folder");
        let mut config = AgentConfig::new(folder.path());
        config.stores[0].reserve_bytes = 0;
        let stores = crate::stores::open(&config).expect("made");
        let key = ShardKey { stripe: StripeId([1; 16]), index: 0 };
        stores.put(key, Bytes::from(vec![7; 100_000]), None).await.expect("kept");
        config.stores[0].reserve_bytes = u64::MAX;
        let health = Arc::new(Health::new(AgentId([1; 32]), None, Timing::default()));
        let own = OwnStores { stores: stores.clone(), meter: Arc::default() };
        let checkup = Checkup {
            health: health.clone(),
            wake: Wake::default(),
            own: Some(own),
            directories: config.stores.clone(),
            smart: SmartConfig { program: PathBuf::new(), devices: Vec::new() },
        };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(checkup.run(shutdown.clone()));
        let told = async {
            while health.self_report().owed_bytes == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("told in time");
        assert_eq!(health.self_report().owed_bytes, stores.space().used_bytes);
        shutdown.cancel();
        running.await.expect("ends");
    }
}
