//! What commands were answered, kept so that each takes effect once.

use bytes::Bytes;
use dci_proto::CommandId;

use super::state::State;
use crate::tables::{self, OutcomeRow};
use crate::{Command, KvError, Node, NodeContent, NodePath, Outcome, Rejection, Submission, query};

/// Commands whose outcome is kept, at least; the oldest go, a batch at a time. A submitter gives up on a command within
/// seconds, so an id that comes again later than this many commands is none it still waits for.
pub const OUTCOMES_KEPT: u64 = 65_536;

/// Bytes of an id in the ring.
const ID_BYTES: usize = 16;

/// What a submission was answered, if it was applied before.
pub(super) fn replay(state: &State, submission: &Submission) -> Result<Option<Result<Outcome, Rejection>>, KvError> {
    let key = key(submission.id);
    let Some(OutcomeRow { mut result }) = state.read(tables::OUTCOMES, &key)? else { return Ok(None) };
    if let Ok(Outcome::Node { node, .. }) = &mut result {
        restore_inline(state, &submission.command, node)?;
    }
    Ok(Some(result))
}

/// Keeps what a command was answered, without the bytes of an inline file.
pub(super) fn keep(state: &mut State, id: CommandId, result: &Result<Outcome, Rejection>) -> Result<(), KvError> {
    let mut result = result.clone();
    if let Ok(Outcome::Node { node: Node { content: Some(NodeContent::Inline(bytes)), .. }, .. }) = &mut result {
        *bytes = Bytes::new();
    }
    state.put(tables::OUTCOMES, &key(id), &OutcomeRow { result })
}

/// Takes the ids of a batch into the ring and drops those that have had their time.
pub(super) fn turn(state: &mut State, fresh: &[CommandId]) -> Result<(), KvError> {
    if fresh.is_empty() {
        return Ok(());
    }
    let ids: Vec<u8> = fresh.iter().flat_map(|id| id.0).collect();
    let ring_key = tables::OUTCOME_RING.key(&[&state.meta.outcomes_ever.to_be_bytes()]);
    state.put(tables::OUTCOME_RING, &ring_key, &Bytes::from(ids))?;
    state.meta.outcomes_ever += fresh.len() as u64;
    state.meta.outcomes_kept += fresh.len() as u64;
    while state.meta.outcomes_kept > OUTCOMES_KEPT {
        let Some((key, ids)) = oldest(state)? else { break };
        let count = (ids.len() / ID_BYTES) as u64;
        if state.meta.outcomes_kept.saturating_sub(count) < OUTCOMES_KEPT {
            break;
        }
        for id in ids.chunks_exact(ID_BYTES) {
            state.delete(&tables::OUTCOMES.key(&[id]))?;
        }
        state.delete(&key)?;
        state.meta.outcomes_kept -= count;
    }
    Ok(())
}

fn oldest(state: &State) -> Result<Option<(Vec<u8>, Bytes)>, KvError> {
    let prefix = tables::OUTCOME_RING.key(&[]);
    let mut found = None;
    tables::visit(&*state.kv, tables::OUTCOME_RING, &prefix, &prefix, &mut |key, ids: Bytes| {
        found = Some((key.to_vec(), ids));
        Ok(false)
    })?;
    Ok(found)
}

fn restore_inline(state: &State, command: &Command, node: &mut Node) -> Result<(), KvError> {
    let Some(NodeContent::Inline(bytes)) = &mut node.content else { return Ok(()) };
    let Some(path) = written_path(command) else { return Ok(()) };
    let now = query::node(&*state.kv, path)?;
    let now = now.filter(|now| (now.inode, now.version) == (node.inode, node.version));
    if let Some(Node { content: Some(NodeContent::Inline(kept)), .. }) = now {
        *bytes = kept;
    }
    Ok(())
}

fn written_path(command: &Command) -> Option<&NodePath> {
    match command {
        Command::Fresh { command, .. } => written_path(command),
        Command::CommitFile { path, .. } | Command::MakeFolder { path, .. } => Some(path),
        Command::Rename { to, .. } | Command::Copy { to, .. } | Command::CopyTrash { to, .. } => Some(to),
        _ => None,
    }
}

fn key(id: CommandId) -> Vec<u8> {
    tables::OUTCOMES.key(&[&id.0])
}
