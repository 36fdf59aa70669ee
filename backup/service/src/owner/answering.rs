//! What others ask the owner: holders its catalogue and objects, anybody the same for restoring; and holders tell what is damaged.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dci_proto::AgentId;
use shoal_backup::peersync::ship;
use shoal_backup::{Object, ObjectName};

use super::books::SUSPECTS_LIMIT;
use super::{Owner, Setup, blocking};
use crate::call::{self, Answer, Ask, CallError, No, PIECE_LIMIT_BYTES, Reply, Standing};

impl Owner {
    pub(super) async fn answer_member(&self, from: AgentId, ask: Ask, body: Bytes) -> Reply {
        let own = self.own();
        let setup = self.setup().map_err(|error| CallError::no(No::NotFound, error.to_string()))?;
        match ask {
            Ask::Standing { owner } if owner == own => Ok((self.own_standing(&setup), Bytes::new())),
            Ask::Tail { owner, after } if owner == own => own_tail(&setup, after),
            Ask::BasePiece { owner, sequence, offset } if owner == own => base_piece(&setup, sequence, offset).await,
            Ask::Which { owner } if owner == own => which(&setup, &body),
            Ask::Get { owner, name, offset, length } if owner == own => get(&setup, name, offset, length).await,
            Ask::Ship { owner, after } if owner == own => ship_along(&setup, after).await,
            Ask::Damaged { name } => {
                let mut books = setup.books();
                books.note_damaged(from, &name, self.now());
                drop(books);
                self.wake_copies.notify_one();
                Ok((Answer::Done, Bytes::new()))
            }
            Ask::Suspect { agent, name } => {
                let mut books = setup.books();
                if let Some(peer) = books.peers.get_mut(&agent).filter(|peer| peer.suspects.len() < SUSPECTS_LIMIT) {
                    peer.suspects.insert(name);
                }
                Ok((Answer::Done, Bytes::new()))
            }
            Ask::Doubt { owner, name } if owner == own => {
                let object = setup.books().catalogue.state().get(&name).copied();
                if let Some(object) = object {
                    self.look_at_own(&setup, &object).await;
                }
                Ok((Answer::Done, Bytes::new()))
            }
            _ => Err(CallError::no(No::Refused, "an owner is not asked for that")),
        }
    }

    fn own_standing(&self, setup: &Setup) -> Answer {
        let books = setup.books();
        let state = books.catalogue.state();
        Answer::Standing(Standing {
            sequence: state.sequence(),
            holds: true,
            lacking: books.missing.len() as u64,
            held_bytes: state.size_bytes(),
            wall_ms: self.now().wall_ms,
        })
    }
}

fn own_tail(setup: &Setup, after: u64) -> Reply {
    let books = setup.books();
    // What an owner that was set back says now it may have to take back.
    if !books.clearance.is_clear {
        return Err(CallError::no(No::Busy, "it does not know yet whether it was set back"));
    }
    let tail = books.catalogue.tail(after);
    let base = tail.base.map(|base| (base.state().sequence(), base.to_bytes().len() as u64));
    Ok((Answer::Tail { base, more: tail.more }, call::entries_to_bytes(&tail.entries)))
}

async fn base_piece(setup: &Arc<Setup>, sequence: u64, offset: u64) -> Reply {
    let setup = Arc::clone(setup);
    let read = blocking(move || {
        let books = setup.books();
        let is_that = books.catalogue.base().is_some_and(|base| base.state().sequence() == sequence);
        if is_that { books.base_piece(offset, PIECE_LIMIT_BYTES as usize).map(Some) } else { Ok(None) }
    });
    match read.await {
        Ok(Some(piece)) => Ok((Answer::Done, piece)),
        Ok(None) => Err(CallError::no(No::NotFound, "the base is another one by now: ask for the tail again")),
        Err(error) => Err(CallError::no(No::Failed, error.to_string())),
    }
}

fn which(setup: &Setup, body: &[u8]) -> Reply {
    let names = call::names_from_bytes(body).ok_or_else(|| CallError::Malformed("names".to_owned()))?;
    let books = setup.books();
    let has = |name: &&ObjectName| books.catalogue.state().get(name).is_some() && !books.missing.contains_key(*name);
    Ok((Answer::Done, call::names_to_bytes(names.iter().filter(has))))
}

async fn get(setup: &Arc<Setup>, name: ObjectName, offset: u64, length: u32) -> Reply {
    if setup.books().catalogue.state().get(&name).is_none() {
        return Err(CallError::no(No::NotFound, "this PC's backup has no such object"));
    }
    let setup = Arc::clone(setup);
    let length = length.min(PIECE_LIMIT_BYTES) as usize;
    match blocking(move || Ok(setup.objects.read(&name, offset, length)?)).await {
        Ok(piece) => Ok((Answer::Done, piece)),
        Err(error) => Err(CallError::no(No::NotFound, error.to_string())),
    }
}

/// As many objects as fit into one answer, in the order in which they may be taken.
async fn ship_along(setup: &Arc<Setup>, after: u64) -> Reply {
    let objects: Vec<Object> = {
        let books = setup.books();
        let lost: HashSet<&ObjectName> = books.missing.keys().collect();
        ship(books.catalogue.state(), after, u64::from(PIECE_LIMIT_BYTES), |object| !lost.contains(&object.name))
    };
    let setup = Arc::clone(setup);
    let read = blocking(move || {
        let (mut shipped, mut body) = (Vec::new(), BytesMut::new());
        for object in objects {
            let length = usize::try_from(object.size_bytes).unwrap_or(usize::MAX);
            let Ok(bytes) = setup.objects.read(&object.name, 0, length) else { break };
            shipped.push((object.name, bytes.len() as u64));
            body.extend_from_slice(&bytes);
        }
        Ok((shipped, body.freeze()))
    });
    let (shipped, body) = read.await.map_err(|error| CallError::no(No::Failed, error.to_string()))?;
    Ok((Answer::Shipped(shipped), body))
}
