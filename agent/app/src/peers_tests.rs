//! Shards between agents over a network in memory: kept, given, and dropped only with proof.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::{AgentId, ContentId, ShardKey, StripeId, shard_hash};
use shoal_ledger::{
    ChunkRef, Command, FileContent, Guard, LedgerClient, LocalLedger, NewStripe, NodePath, ShardPlace, StripeRecord,
    query,
};
use shoal_net::{Lane, MemoryHub, MemoryNetwork, Network, Peer};
use shoal_store::{MemoryStore, ShardStore};
use shoal_volume::{BadShard, PeerError, ShardPeers, Urgency};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Timing;
use crate::data_directory::{DataDirectory, Membership};
use crate::handler::{AgentHandler, Parts};
use crate::health::Health;
use crate::holdings::Holdings;
use crate::machine::{Background, SystemLoad};
use crate::members::MemberBook;
use crate::mend::Mender;
use crate::no_ledger::NoLedger;
use crate::peers::Peers;
use crate::rebuild::Rebuilder;
use crate::store_gate::GuardedStore;
use crate::wire::{self, Method, ShardDelete, ShardRebuild, ShardRebuilt, WireError};

const KEY: ShardKey = ShardKey { stripe: StripeId([5; 16]), index: 1 };

/// Two agents that share a ledger; the second may be one that holds none.
struct Pair {
    hub: MemoryHub,
    ledger: Arc<LocalLedger>,
    agents: [AgentId; 2],
    stores: [Arc<MemoryStore>; 2],
    networks: [Arc<MemoryNetwork>; 2],
    healths: [Arc<Health>; 2],
    menders: Vec<Arc<Mender>>,
    _folders: [TempDir; 2],
}

fn guarded(store: &Arc<MemoryStore>) -> Arc<GuardedStore> {
    Arc::new(GuardedStore::new(store.clone(), shoal_consensus::Headroom::new("/", 0)))
}

impl Pair {
    fn new(second_holds_ledger: bool) -> Self {
        let hub = MemoryHub::new(1);
        let agents = [AgentId([1; 32]), AgentId([2; 32])];
        let ledger = Arc::new(LocalLedger::with_pool(&agents, "pool").expect("a pool"));
        let members = query::agents(&*ledger.view().expect("a view")).expect("members");
        let stores = [(); 2].map(|()| Arc::new(MemoryStore::new(1 << 20)));
        let handlers = [(); 2].map(|()| AgentHandler::default());
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let networks: [Arc<MemoryNetwork>; 2] =
            std::array::from_fn(|index| hub.join(agents[index], Arc::new(handlers[index].clone())));
        let healths: [Arc<Health>; 2] = std::array::from_fn(|index| {
            let store: Arc<dyn ShardStore> = stores[index].clone();
            Arc::new(Health::new(agents[index], Some(store), Timing::default()))
        });
        let mut menders = Vec::new();
        for index in 0..2 {
            let (network, health): (Arc<dyn Network>, _) = (networks[index].clone(), healths[index].clone());
            let directory = Arc::new(DataDirectory::open(folders[index].path()).expect("a directory"));
            let known = members.iter().map(Into::into).collect();
            let roles = shoal_ledger::AgentRoles::default();
            let membership = Membership::new(dci_proto::PoolId::default(), "pool".into(), false, roles, known);
            let book = MemberBook::new(network.clone(), health.clone(), directory, membership);
            let peers = agents.map(|agent| Peer { agent, control_addresses: vec![], data_addresses: vec![] });
            network.set_peers(peers.to_vec());
            health.set_members(&members);
            let held: Arc<dyn LedgerClient> = ledger.clone();
            let own = guarded(&stores[index]);
            let holds_ledger = index == 0 || second_holds_ledger;
            let known: Arc<dyn LedgerClient> =
                if holds_ledger { held.clone() } else { Arc::new(NoLedger::store_only()) };
            let timing = Timing::default();
            let background = Background::new(SystemLoad::new(Arc::default()));
            let rebuilder = Rebuilder::new(agents[index], own.clone(), known.clone(), background);
            let own_peers = Peers::new(
                agents[index],
                Some(own.clone()),
                network.clone(),
                health.clone(),
                known,
                timing,
                Some(rebuilder),
            );
            let (own_peers, members) = (Arc::new(own_peers), Arc::new(book));
            let ledger_here = holds_ledger.then_some(held);
            let holdings = Arc::new(Holdings {
                agent: agents[index],
                ledger: ledger_here.clone(),
                network: network.clone(),
                members: members.clone(),
            });
            let mender = Arc::new(Mender::new(agents[index], own_peers.clone(), holdings, None));
            menders.push(mender.clone());
            handlers[index].set(Parts {
                agent: agents[index],
                store: Some(own),
                consensus: None,
                ledger: ledger_here,
                health,
                members,
                network,
                peers: own_peers.clone(),
                scrubber: None,
                mender,
                copies: None,
                foreground: Arc::default(),
                keeping: Arc::default(),
                recutter: std::sync::OnceLock::new(),
                messages: std::sync::OnceLock::new(),
                files: std::sync::OnceLock::new(),
                backups: std::sync::OnceLock::new(),
            });
        }
        Self { hub, ledger, agents, stores, networks, healths, menders, _folders: folders }
    }

    /// The members as the first agent sees them.
    fn peers(&self) -> Peers {
        let (store, network): (_, Arc<dyn Network>) = (guarded(&self.stores[0]), self.networks[0].clone());
        let health = self.healths[0].clone();
        Peers::new(self.agents[0], Some(store), network, health, self.ledger.clone(), Timing::default(), None)
    }

    /// A file whose only stripe has its shard 1 on the second agent.
    async fn commit_file(&self, bytes: &Bytes) {
        let place = |agent| ShardPlace { agent: Some(agent), hash: shard_hash(bytes) };
        let size = u32::try_from(bytes.len()).expect("small");
        let record = StripeRecord {
            content: ContentId([9; 32]),
            codec: 1,
            k: 1,
            m: 1,
            plain_bytes: size,
            stored_bytes: size,
            shard_bytes: size,
            compression: 0,
            key_epoch: 1,
            shards: self.agents.map(place).to_vec(),
        };
        let new_stripe = Some(NewStripe { id: KEY.stripe, record, replaces: None });
        let chunk = ChunkRef { content: ContentId([9; 32]), plain_bytes: size, new_stripe };
        let command = Command::CommitFile {
            path: self.path(),
            guard: Guard::default(),
            content: FileContent::Chunks(vec![chunk]),
            size_bytes: bytes.len() as u64,
            modified_ms: None,
            sha1: None,
            media_type: None,
        };
        self.ledger.submit(command).await.expect("committed");
    }

    fn path(&self) -> NodePath {
        let volume = query::volumes(&*self.ledger.view().expect("a view")).expect("volumes")[0].id;
        NodePath::new(volume, vec!["file".into()]).expect("a path")
    }

    async fn remove_file(&self) {
        let (path, guard) = (self.path(), Guard::default());
        self.ledger.submit(Command::Remove { path, guard }).await.expect("removed");
    }

    async fn holds(&self, index: usize) -> bool {
        self.stores[index].info(KEY).await.expect("asked").is_some()
    }
}

fn bytes() -> Bytes {
    Bytes::from_static(b"sixteen bytes...")
}

#[tokio::test(start_paused = true)]
async fn a_shard_kept_by_another_agent_comes_back_whole_or_in_part() {
    let pair = Pair::new(true);
    let peers = pair.peers();
    let hash = shard_hash(&bytes());
    peers.put(pair.agents[1], KEY, hash, bytes(), Urgency::Foreground).await.expect("kept");
    assert!(pair.holds(1).await && !pair.holds(0).await);
    assert_eq!(peers.get(pair.agents[1], KEY, None, Urgency::Foreground).await.expect("given"), bytes());
    let part = peers.get(pair.agents[1], KEY, Some(8..13), Urgency::Background).await.expect("given");
    assert_eq!(part, &b"bytes"[..]);
    let missing = peers.get(pair.agents[0], KEY, None, Urgency::Foreground).await;
    assert!(matches!(missing, Err(PeerError::NotFound(_))), "{missing:?}");
    let wrong = peers.put(pair.agents[1], KEY, hash, Bytes::from_static(b"other"), Urgency::Foreground).await;
    assert!(matches!(wrong, Err(PeerError::Failed { .. })), "{wrong:?}");
}

async fn dropped_only_with_proof(pair: Pair) {
    let peers = pair.peers();
    for agent in pair.agents {
        peers.put(agent, KEY, shard_hash(&bytes()), bytes(), Urgency::Foreground).await.expect("kept");
    }
    pair.commit_file(&bytes()).await;
    let refused = peers.delete(pair.agents[1], KEY).await;
    assert!(
        matches!(&refused, Err(PeerError::Failed { reason, .. }) if reason.contains("counts on it")),
        "{refused:?}"
    );
    assert!(pair.holds(1).await);
    let policy = shoal_ledger::CarePolicy { trash_keep_s: 0, ..Default::default() };
    pair.ledger.submit(Command::SetCarePolicy { policy }).await.expect("no trash");
    pair.remove_file().await;
    peers.delete(pair.agents[1], KEY).await.expect("dropped");
    assert!(!pair.holds(1).await && pair.holds(0).await);
}

#[tokio::test(start_paused = true)]
async fn a_shard_the_ledger_counts_on_is_dropped_for_nobody() {
    dropped_only_with_proof(Pair::new(true)).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_ledger_asks_one_that_has_it_before_it_drops_a_shard() {
    dropped_only_with_proof(Pair::new(false)).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_the_ledger_that_may_be_stale_proves_nothing() {
    let pair = Pair::new(true);
    pair.peers().put(pair.agents[1], KEY, shard_hash(&bytes()), bytes(), Urgency::Foreground).await.expect("kept");
    pair.ledger.set_quorum(false);
    let head = ShardDelete { key: KEY, position: 1 };
    let request = wire::request(Method::ShardDelete, &head).expect("encodes");
    let wait = Duration::from_secs(60);
    let response = pair.networks[0].call(pair.agents[1], Lane::Background, request, wait).await.expect("answered");
    assert!(matches!(wire::check(&response), Err(WireError::Refused { .. })), "{response:?}");
    assert!(pair.holds(1).await);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_hangs_is_given_up_within_a_second_and_one_that_answers_again_is_back_at_once() {
    let pair = Pair::new(true);
    let (peers, hung) = (pair.peers(), pair.agents[1]);
    let network: Arc<dyn Network> = pair.networks[0].clone();
    pair.healths[0].probe(&network, hung);
    let mut changes = pair.healths[0].changes();
    while !pair.healths[0].answers(hung) {
        changes.changed().await.expect("watched");
    }
    pair.hub.cut(pair.agents[0], hung);
    let begin = Instant::now();
    let answer = peers.get(hung, KEY, None, Urgency::Foreground).await;
    assert!(matches!(answer, Err(PeerError::Unreachable { .. })), "{answer:?}");
    assert!(begin.elapsed() <= Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(!pair.healths[0].answers(hung));
    let candidates = peers.candidates();
    let known = candidates.iter().find(|candidate| candidate.agent == hung).expect("still a candidate");
    assert!(known.suspect && known.free_bytes == 0, "{known:?}");

    pair.hub.heal();
    pair.healths[0].probe(&network, hung);
    while !pair.healths[0].answers(hung) {
        changes.changed().await.expect("watched");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_on_the_wrong_lane_and_unknown_ones_are_refused() {
    let pair = Pair::new(true);
    let put = wire::request(Method::ShardPut, &()).expect("encodes");
    let ping = wire::request(Method::Ping, &()).expect("encodes");
    let unknown = shoal_net::Request { method: 999, ..ping.clone() };
    let consensus = wire::request(Method::Consensus, &()).expect("encodes");
    for (lane, request) in [
        (Lane::Control, put.clone()),
        (Lane::Foreground, put),
        (Lane::Control, ping.clone()),
        (Lane::Background, ping),
        (Lane::Control, unknown),
        (Lane::Control, consensus),
    ] {
        let wait = Duration::from_secs(5);
        let response = pair.networks[0].call(pair.agents[1], lane, request, wait).await.expect("answered");
        assert!(matches!(wire::check(&response), Err(WireError::Refused { .. })), "{lane:?}: {response:?}");
    }
}

#[tokio::test]
async fn an_agent_makes_its_shard_anew_from_another_copy_with_and_without_a_ledger() {
    for second_holds_ledger in [true, false] {
        let pair = Pair::new(second_holds_ledger);
        let bytes = Bytes::from_static(b"shard");
        pair.commit_file(&bytes).await;
        let first = ShardKey { index: 0, ..KEY };
        pair.stores[0].put(first, bytes.clone(), None).await.expect("kept");
        let record = query::stripe(&*pair.ledger.view().expect("a view"), KEY.stripe).expect("read").expect("there");
        let asked = ShardRebuild::of(KEY, &record);
        let rebuilt = pair.peers().rebuild(pair.agents[1], &asked).await.expect("made anew");
        assert_eq!(rebuilt, ShardRebuilt { read_bytes: 5, written_bytes: 5, bad: vec![] });
        assert_eq!(pair.stores[1].get(KEY, None).await.expect("there"), bytes);
        let again = pair.peers().rebuild(pair.agents[1], &asked).await.expect("there already");
        assert_eq!(again, ShardRebuilt::default());
    }
}

#[tokio::test]
async fn a_rebuild_that_cannot_be_says_why_over_the_network() {
    let pair = Pair::new(true);
    pair.commit_file(&Bytes::from_static(b"shard")).await;
    let record = query::stripe(&*pair.ledger.view().expect("a view"), KEY.stripe).expect("read").expect("there");
    let asked = ShardRebuild::of(KEY, &record);
    let error = pair.peers().rebuild(pair.agents[1], &asked).await.expect_err("nobody has it");
    assert!(error.to_string().contains("0 of the 1 shards"), "{error}");
    let nonsense = ShardRebuild { k: 200, ..asked };
    let error = pair.peers().rebuild(pair.agents[1], &nonsense).await.expect_err("refused");
    assert!(error.to_string().contains("no stripe looks like that"), "{error}");
}

/// The shard is on neither agent, so it cannot be mended before it comes back.
async fn reported_and_taken_back(pair: Pair) {
    pair.commit_file(&bytes()).await;
    let running = tokio::spawn(pair.menders[1].clone().run(None, CancellationToken::new()));
    pair.menders[1].add_own(KEY);
    let begun = Instant::now();
    let is_noted = || query::is_bad(&*pair.ledger.view().expect("a view"), pair.agents[1], KEY).expect("read");
    let come_to = async |wanted: bool| {
        let deadline = Instant::now() + Duration::from_secs(3_600);
        while is_noted() != wanted {
            assert!(Instant::now() < deadline, "the ledger has it as {}", !wanted);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    come_to(true).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "no second try: nothing could mend it");
    assert_eq!(pair.menders[1].pending_here().len(), 1);
    pair.stores[1].put(KEY, bytes(), None).await.expect("kept");
    come_to(false).await;
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_cannot_be_mended_is_reported_and_the_report_taken_back_when_it_is_whole() {
    reported_and_taken_back(Pair::new(true)).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_ledger_reports_its_bad_shards_over_one_that_has_it() {
    reported_and_taken_back(Pair::new(false)).await;
}

#[tokio::test(start_paused = true)]
async fn bad_shards_that_nothing_counts_on_any_more_are_soon_forgotten_however_seldom_they_are_tried() {
    let pair = Pair::new(true);
    let policy = shoal_ledger::CarePolicy { trash_keep_s: 0, ..Default::default() };
    pair.ledger.submit(Command::SetCarePolicy { policy }).await.expect("no trash");
    pair.commit_file(&bytes()).await;
    let running: Vec<_> =
        pair.menders.iter().map(|mender| tokio::spawn(mender.clone().run(None, CancellationToken::new()))).collect();
    // The first met it on the second, and it was on neither: both cannot mend it, and each says so of its own.
    pair.menders[0].add(BadShard { key: KEY, agent: pair.agents[1] });
    let come_to = async |what: &str, wanted: [usize; 2]| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while pair.menders.iter().map(|mender| mender.pending().len()).ne(wanted) {
            assert!(
                Instant::now() < deadline,
                "{what}: {:?}",
                pair.menders.iter().map(|one| one.pending()).collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    come_to("each has its own only", [1, 1]).await;
    assert!(pair.menders.iter().all(|mender| mender.unreported().is_empty()), "and all is reported");
    tokio::time::sleep(Duration::from_secs(100)).await;
    pair.remove_file().await;
    come_to("nothing counts on them", [0, 0]).await;
    running.iter().for_each(tokio::task::JoinHandle::abort);
}
