//! What agents ask each other.

use dci_proto::{ShardHash, ShardKey};
use shoal_care::{RebuildJob, RecutJob, SelfReport};
use shoal_ledger::query::BadShards;
use shoal_ledger::{ShardStanding, StripeRecord, Submission};

use crate::ledger::{self, Answer};
use crate::world::Sim;
use crate::{care, holder, presence};

/// A request.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// Are you there, and how are you?
    Ping,
    /// Keep a shard. `token`: what its bytes hash to, as they arrive; `expected`: what they must.
    Put { key: ShardKey, token: ShardHash, expected: ShardHash, bytes: u32 },
    /// Give a shard.
    Get { key: ShardKey },
    /// Drop a shard, if the ledger says so.
    Drop { key: ShardKey },
    /// Make a shard durable on your disk.
    Rebuild(Box<RebuildJob>),
    /// Cut a stripe anew.
    Recut(Box<RecutJob>),
    /// Have this agreed on.
    Submit(Box<Submission>),
    /// How far is the log, surely?
    ReadPoint,
    /// How does the ledger stand, surely, to shards of mine? Asked by agents without a ledger.
    Standings { keys: Vec<ShardKey> },
    /// Which shards does the ledger count on me for? Asked by agents without a ledger.
    Counted,
    /// A planted bug: drop it, whatever the ledger says.
    DropUnasked { key: ShardKey },
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Done,
    Refused,
    Pong(Box<SelfReport>),
    Token(ShardHash),
    Failed,
    Position(u64),
    Answer(u64, Box<Answer>),
    /// At which position of the log, the ledger's time then, and a standing for each key.
    Standings(u64, u64, Vec<ShardStanding>),
    /// The shards, and those of them the ledger has as bad.
    Counted(Vec<(ShardKey, StripeRecord)>, BadShards),
}

/// Has an agent answer.
pub(crate) async fn serve(sim: Sim, me: usize, from: usize, request: Request) -> Reply {
    match request {
        Request::Ping => presence::pong(&sim, me, from),
        Request::Put { key, token, expected, bytes } => holder::put(&sim, me, key, token, expected, bytes).await,
        Request::Get { key } => holder::get(&sim, me, key).await,
        Request::Drop { key } => holder::drop_on_order(&sim, me, key).await,
        Request::DropUnasked { key } => holder::drop_unasked(&sim, me, key),
        Request::Rebuild(job) => yes(Box::pin(care::rebuild(&sim, me, *job)).await),
        Request::Recut(job) => yes(Box::pin(care::recut(&sim, me, *job)).await),
        Request::Submit(submission) => ledger::lead(&sim, me, *submission).await,
        Request::ReadPoint => ledger::read_point(&sim, me).await,
        Request::Standings { keys } => holder::standings_for(&sim, me, from, keys).await,
        Request::Counted => holder::counted_for(&sim, me, from).await,
    }
}

fn yes(well: bool) -> Reply {
    if well { Reply::Done } else { Reply::Refused }
}
