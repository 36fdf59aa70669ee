//! One lost shard made anew from the others of its stripe, by the agent that is to hold it.
//!
//! No key is needed: shards are ciphertext, and every one of them, the new one included, is checked against the hash
//! the ledger has. A whole copy is taken where somebody still has the very shard; else exactly `k` others are read.

use bytes::Bytes;
use dci_proto::{AgentId, ShardHash, ShardKey, shard_hash};
use futures::stream::{FuturesUnordered, StreamExt};
use shoal_placement::read_order;

use crate::codec::{self, CodecError, CodecId};
use crate::shared::work_on;
use crate::{PeerError, ShardPeers, Urgency};

/// Bytes of the data shards of one stripe, at most: a chunk with its encryption, each shard rounded up, and headroom.
/// What a rebuild keeps in memory is this and one shard.
pub const STRIPE_LIMIT_BYTES: u64 = 8 * 1024 * 1024;

/// A shard that is to be made anew, and where the others of its stripe are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostShard {
    /// Which.
    pub key: ShardKey,
    /// The stripe's code.
    pub codec: CodecId,
    /// Its data shards.
    pub k: u8,
    /// Its parities.
    pub m: u8,
    /// Bytes of each of its shards.
    pub shard_bytes: u32,
    /// Who has each of its `k + m` shards, by index, and the hash of each.
    pub places: Vec<(Option<AgentId>, ShardHash)>,
    /// Who has this very shard, where it is only to move.
    pub copy_from: Option<AgentId>,
}

/// A shard made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Its bytes, which match its hash.
    pub bytes: Bytes,
    /// Bytes that were read for it.
    pub read_bytes: u64,
    /// Shards of the stripe that were found missing or damaged on the way, and who should have them.
    pub bad: Vec<(u8, AgentId)>,
}

/// Why a shard was not made anew.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RebuildError {
    /// Numbers, lengths or places that no stripe has.
    #[error("no stripe looks like that: {0}")]
    Malformed(String),
    /// Too few of the others can be had now.
    #[error("{present} of the {needed} shards that are needed can be had{detail}")]
    TooFew {
        /// How many could be had.
        present: usize,
        /// How many it takes.
        needed: usize,
        /// What the last one that could not be had said.
        detail: String,
        /// Those found missing or damaged where they should be, as opposed to out of reach: index and agent.
        bad: Vec<(u8, AgentId)>,
    },
    /// The code refused.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// What was computed is not the shard the ledger knows, though all it was computed from is.
    #[error("the shard that was computed does not have the hash the ledger has")]
    Mismatch,
    /// The agent is ending.
    #[error("interrupted: this agent is ending")]
    Interrupted,
}

impl LostShard {
    /// The hash the shard must have.
    #[must_use]
    pub fn hash(&self) -> Option<ShardHash> {
        self.places.get(usize::from(self.key.index)).map(|(_, hash)| *hash)
    }

    /// Whether a stripe can look like that, and its shard `key` can be on `holder`.
    ///
    /// # Errors
    /// [`RebuildError::Malformed`].
    pub fn check(&self, holder: AgentId) -> Result<(), RebuildError> {
        let refuse = |reason: &str| Err(RebuildError::Malformed(reason.to_owned()));
        let width = usize::from(self.k) + usize::from(self.m);
        if self.k == 0 || self.places.len() != width || usize::from(self.key.index) >= width {
            return refuse("its numbers of shards do not fit together");
        }
        if self.shard_bytes == 0 || u64::from(self.k) * u64::from(self.shard_bytes) > STRIPE_LIMIT_BYTES {
            return refuse("its shards are empty or too large");
        }
        let mut agents: Vec<AgentId> = self.places.iter().filter_map(|(agent, _)| *agent).collect();
        agents.sort_unstable();
        if agents.windows(2).any(|pair| pair[0] == pair[1]) {
            return refuse("an agent has two of its shards");
        }
        let other = |(index, place): (usize, &(Option<AgentId>, ShardHash))| {
            index != usize::from(self.key.index) && place.0 == Some(holder)
        };
        if self.places.iter().enumerate().any(other) {
            return refuse("the agent has another of its shards already");
        }
        Ok(())
    }

    /// The others of the stripe, best first.
    fn sources(&self, peers: &dyn ShardPeers) -> Vec<(u8, AgentId)> {
        let places: Vec<(u8, AgentId)> = (0u8..)
            .zip(&self.places)
            .filter(|(index, _)| *index != self.key.index)
            .filter_map(|(index, (agent, _))| Some((index, (*agent)?)))
            .collect();
        let order = read_order(&places, &peers.candidates(), self.k);
        order.into_iter().filter_map(|index| places.iter().find(|(of, _)| *of == index).copied()).collect()
    }
}

/// Makes a shard anew for `holder`.
///
/// # Errors
/// If the request makes no sense, or too few of the others can be had.
pub async fn rebuild(
    peers: &dyn ShardPeers,
    holder: AgentId,
    lost: &LostShard,
    urgency: Urgency,
) -> Result<Rebuilt, RebuildError> {
    lost.check(holder)?;
    let mut gathering = Gathering { peers, lost, urgency, read_bytes: 0, bad: Vec::new(), last: None };
    if let Some(source) = lost.copy_from.filter(|source| *source != holder) {
        let got = peers.get(source, lost.key, None, urgency).await;
        if let Some(bytes) = gathering.take(lost.key.index, source, got) {
            return Ok(gathering.done(bytes));
        }
    }
    let shards = gathering.shards().await?;
    let (work, size_bytes) = (lost.clone(), shards.iter().map(|(_, shard)| shard.len()).sum());
    let computed = work_on(size_bytes, move || compute(&work, &shards)).await;
    let bytes = computed.map_err(|_| RebuildError::Interrupted)??;
    Ok(gathering.done(bytes))
}

/// Shards on their way in.
struct Gathering<'a> {
    peers: &'a dyn ShardPeers,
    lost: &'a LostShard,
    urgency: Urgency,
    read_bytes: u64,
    bad: Vec<(u8, AgentId)>,
    last: Option<PeerError>,
}

impl Gathering<'_> {
    /// `k` others. Never are more than `k` in hand or on their way, so never more is read than is needed.
    async fn shards(&mut self) -> Result<Vec<(usize, Bytes)>, RebuildError> {
        let needed = usize::from(self.lost.k);
        let mut sources = self.lost.sources(self.peers).into_iter();
        let (mut got, mut coming) = (Vec::with_capacity(needed), FuturesUnordered::new());
        let (peers, urgency, stripe) = (self.peers, self.urgency, self.lost.key.stripe);
        loop {
            while got.len() + coming.len() < needed
                && let Some((index, agent)) = sources.next()
            {
                let key = ShardKey { stripe, index };
                coming.push(async move { (index, agent, peers.get(agent, key, None, urgency).await) });
            }
            let Some((index, agent, result)) = coming.next().await else { break };
            if let Some(bytes) = self.take(index, agent, result) {
                got.push((usize::from(index), bytes));
            }
        }
        if got.len() < needed {
            let detail = self.last.take().map(|error| format!("; {error}")).unwrap_or_default();
            let bad = std::mem::take(&mut self.bad);
            return Err(RebuildError::TooFew { present: got.len(), needed, detail, bad });
        }
        Ok(got)
    }

    /// A shard that came, if it is the one the ledger knows.
    fn take(&mut self, index: u8, agent: AgentId, result: Result<Bytes, PeerError>) -> Option<Bytes> {
        let expected = self.lost.places.get(usize::from(index)).map(|(_, hash)| *hash);
        let checked = result.and_then(|bytes| {
            self.read_bytes += bytes.len() as u64;
            if bytes.len() != self.lost.shard_bytes as usize || expected != Some(shard_hash(&bytes)) {
                let reason = "it does not match the ledger's hash".to_owned();
                return Err(PeerError::Damaged { agent, reason });
            }
            Ok(bytes)
        });
        let error = match checked {
            Ok(bytes) => return Some(bytes),
            Err(error) => error,
        };
        tracing::debug!(%error, key = %self.lost.key, index, "a shard cannot be had to rebuild another");
        match &error {
            PeerError::NotFound(_) | PeerError::Damaged { .. } if index != self.lost.key.index => {
                self.bad.push((index, agent));
            }
            PeerError::Unreachable { .. } => self.peers.suspect(agent, "it did not give a shard"),
            _ => {}
        }
        self.last = Some(error);
        None
    }

    fn done(self, bytes: Bytes) -> Rebuilt {
        Rebuilt { bytes, read_bytes: self.read_bytes, bad: self.bad }
    }
}

/// The lost shard, from `k` others.
fn compute(lost: &LostShard, present: &[(usize, Bytes)]) -> Result<Bytes, RebuildError> {
    let (k, m, index) = (usize::from(lost.k), usize::from(lost.m), usize::from(lost.key.index));
    let bytes = match present {
        [(_, copy)] if lost.codec == codec::COPIES => copy.clone(),
        _ => Bytes::from(decode(lost.codec, (k, m), index, present)?),
    };
    if lost.hash() != Some(shard_hash(&bytes)) {
        return Err(RebuildError::Mismatch);
    }
    Ok(bytes)
}

/// A data shard is recovered; a parity is made anew of all data shards.
fn decode(
    codec: CodecId,
    (k, m): (usize, usize),
    index: usize,
    present: &[(usize, Bytes)],
) -> Result<Vec<u8>, RebuildError> {
    let codec = codec::by_id(codec)?;
    let shards: Vec<(usize, &[u8])> = present.iter().map(|(of, bytes)| (*of, bytes.as_ref())).collect();
    let mut recovered = codec.recover(k, m, &shards)?;
    let missing = || CodecError::Shape(format!("shard {index} was not recovered"));
    if index < k {
        let at = recovered.iter().position(|(of, _)| *of == index).ok_or_else(missing)?;
        return Ok(recovered.swap_remove(at).1);
    }
    let mut data: Vec<(usize, &[u8])> = shards.into_iter().filter(|(of, _)| *of < k).collect();
    data.extend(recovered.iter().map(|(of, bytes)| (*of, bytes.as_slice())));
    data.sort_unstable_by_key(|(of, _)| *of);
    let data: Vec<&[u8]> = data.into_iter().map(|(_, bytes)| bytes).collect();
    let parities = codec.encode(&data, m)?;
    Ok(parities.into_iter().nth(index - k).ok_or_else(missing)?)
}
