//! Raft's own messages over [`crate::peers::Peers`].

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{EmptyNode, OptionalSend, StorageIOError};

use crate::message::{Message, Reply, StatePiece};
use crate::peers::{CallError, Peers};
use crate::state::{RowPieces, StateTransfer};
use crate::types::{Raft, Snapshot, Vote};

/// Pause before an agent that could not be reached is tried again.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(200);
/// Time for a piece of a state to be taken up.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the last piece, after which the whole state is made durable and put in place.
const LAST_PIECE_TIMEOUT: Duration = Duration::from_secs(120);
/// Tries of one piece before the transfer is given up (Raft begins another).
const PIECE_TRIES: u32 = 5;

type CallFailure<E = openraft::error::Infallible> = RPCError<AgentId, EmptyNode, RaftError<AgentId, E>>;

/// Makes links to members.
pub(crate) struct Links(pub(crate) Peers);

impl RaftNetworkFactory<Raft> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: AgentId, _: &EmptyNode) -> Link {
        Link { to: target, peers: self.0.clone() }
    }
}

/// The link to one member.
pub(crate) struct Link {
    to: AgentId,
    peers: Peers,
}

impl RaftNetwork<Raft> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Raft>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<AgentId>, CallFailure> {
        let entries = request.entries.len() as u64;
        let message = Message::Append { quorum: self.peers.quorum(), request };
        match self.peers.call(self.to, &message, option.hard_ttl()).await {
            Ok(Reply::Append(response)) => Ok(response),
            Err(CallError::TooLarge(_)) if entries > 1 => Err(PayloadTooLarge::new_entries_hint(entries / 2).into()),
            other => Err(unreachable(other)),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<AgentId>,
        option: RPCOption,
    ) -> Result<VoteResponse<AgentId>, CallFailure> {
        match self.peers.call(self.to, &Message::Vote(request), option.hard_ttl()).await {
            Ok(Reply::Vote(response)) => Ok(response),
            other => Err(unreachable(other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<AgentId>, StreamingError<Raft, Fatal<AgentId>>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_state(vote, snapshot) => sent,
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE))
    }
}

impl Link {
    /// Sends a state piece by piece, each read from the view when its turn comes.
    async fn send_state(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<AgentId>, StreamingError<Raft, Fatal<AgentId>>> {
        let StateTransfer::Outgoing(view) = *snapshot.snapshot else {
            return Err(NetworkError::new(&std::io::Error::other("a received state is not sent on")).into());
        };
        let mut rows = RowPieces::new(view);
        for sequence in 0.. {
            let read = move || (rows.next_piece(), rows);
            let (piece, back) = tokio::task::spawn_blocking(read).await.map_err(|error| NetworkError::new(&error))?;
            rows = back;
            let piece = piece.map_err(|error| {
                StreamingError::StorageError(
                    StorageIOError::read_snapshot(Some(snapshot.meta.signature()), &error).into(),
                )
            })?;
            let total_rows = piece.is_none().then(|| rows.rows());
            let rows = Bytes::from(piece.unwrap_or_default());
            let piece = StatePiece { vote, meta: snapshot.meta.clone(), sequence, rows, total_rows };
            let their_vote = self.send_piece(piece).await?;
            if their_vote > vote || total_rows.is_some() {
                return Ok(SnapshotResponse::new(their_vote));
            }
        }
        Err(NetworkError::new(&std::io::Error::other("a state without an end")).into())
    }

    async fn send_piece(&self, piece: StatePiece) -> Result<Vote, StreamingError<Raft, Fatal<AgentId>>> {
        let timeout = if piece.total_rows.is_some() { LAST_PIECE_TIMEOUT } else { PIECE_TIMEOUT };
        let (vote, wanted) = (piece.vote, piece.sequence + 1);
        let message = Message::StatePiece(piece);
        let mut failure = String::new();
        for _ in 0..PIECE_TRIES {
            match self.peers.call(self.to, &message, timeout).await {
                Ok(Reply::StatePiece { vote: theirs, next_sequence }) if theirs > vote || next_sequence == wanted => {
                    return Ok(theirs);
                }
                Ok(Reply::StatePiece { next_sequence, .. }) => {
                    let text = format!("the receiver wants piece {next_sequence}, not {wanted}");
                    return Err(NetworkError::new(&std::io::Error::other(text)).into());
                }
                Ok(other) => failure = format!("an answer that does not fit: {other:?}"),
                Err(error) => failure = error.to_string(),
            }
            tokio::time::sleep(UNREACHABLE_PAUSE).await;
        }
        Err(Unreachable::new(&std::io::Error::other(failure)).into())
    }
}

fn unreachable<E: std::error::Error>(answer: Result<Reply, CallError>) -> CallFailure<E> {
    let text = match answer {
        Ok(Reply::Refused(reason)) => format!("refused: {reason}"),
        Ok(other) => format!("an answer that does not fit: {other:?}"),
        Err(error) => error.to_string(),
    };
    RPCError::Unreachable(Unreachable::new(&std::io::Error::other(text)))
}
