//! Challenges: now and then each holder proves that it has the bytes of some object; one that lied, all of them.
//!
//! The right answer is worked out from this PC's own repository. A holder that says itself that it lost an object is
//! honest: it gets it again. One that gives a wrong answer, or is there and gives none, is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use rand::TryRngCore as _;
use shoal_backup::Object;
use shoal_backup::challenge::{ANSWER_WITHIN_MS, Answer as Right, Challenge};
use shoal_backup::replication::Lie;
use tokio_util::sync::CancellationToken;

use super::{Owner, Setup, blocking};
use crate::call::{Answer, Ask, CallError, No};

/// Objects that one which lied proves in one go.
const PROVEN_AT_ONCE: usize = 64;
/// One that lied is challenged so many times as often.
const LIARS_MORE_OFTEN: u64 = 10;
/// So many times in a row a holder that can be reached may give no answer.
const UNANSWERED_LIMIT: u32 = 3;

/// What an answer says.
enum Found {
    Proven,
    Lied,
    /// It says itself that it has it no more.
    Lost,
    Unanswered,
    /// Nothing: it is away, or the object is gone here.
    Nothing,
}

impl Owner {
    pub(super) async fn run_proofs(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.parts.pace.tick) => {}
            }
            if let Ok(setup) = self.setup() {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.challenge_all(&setup) => {}
                }
            }
        }
    }

    async fn challenge_all(&self, setup: &Arc<Setup>) {
        let now_ms = self.now().steady_ms;
        let wanted: Vec<(AgentId, bool)> = {
            let books = setup.books();
            let wanted = books.replication.peers().filter_map(|agent| {
                let peer = books.peers.get(&agent)?;
                let distrusted = books.replication.progress(agent)?.is_distrusted;
                let every_ms = self.parts.pace.challenge_every_ms / if distrusted { LIARS_MORE_OFTEN } else { 1 };
                let is_due = peer.challenged_ms.is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= every_ms);
                let may = peer.is_reachable && !peer.is_busy && peer.reported_ms.is_some();
                (may && (is_due || !peer.suspects.is_empty())).then_some((agent, distrusted))
            });
            wanted.collect()
        };
        for (agent, distrusted) in wanted {
            setup.books().peer(agent).challenged_ms = Some(now_ms);
            let suspects = std::mem::take(&mut setup.books().peer(agent).suspects);
            for name in suspects {
                let held =
                    setup.books().replication.held(agent).find(|(object, _)| object.name == name).map(|(it, _)| *it);
                let Some(object) = held else { continue };
                let found = self.challenge(setup, agent, &object, true).await;
                self.judge(setup, agent, &object, found);
            }
            for _ in 0..if distrusted { PROVEN_AT_ONCE } else { 1 } {
                let Some(object) = self.next_to_prove(setup, agent, distrusted) else { break };
                let found = self.challenge(setup, agent, &object, distrusted).await;
                if !self.judge(setup, agent, &object, found) {
                    break;
                }
            }
        }
    }

    fn next_to_prove(&self, setup: &Setup, agent: AgentId, distrusted: bool) -> Option<Object> {
        let mut books = setup.books();
        let seed = books.state.seed;
        let held: Vec<Object> = books
            .replication
            .held(agent)
            .filter(|(object, counts)| (!distrusted || !counts) && !books.missing.contains_key(&object.name))
            .map(|(object, _)| *object)
            .collect();
        books.peer(agent).rounds.next(seed, agent, held.iter()).copied()
    }

    async fn challenge(&self, setup: &Arc<Setup>, agent: AgentId, object: &Object, whole: bool) -> Found {
        let mut nonce = [0; 32];
        if rand::rngs::OsRng.try_fill_bytes(&mut nonce).is_err() {
            return Found::Nothing;
        }
        let challenge = if whole { Challenge::of_all(object, nonce) } else { Challenge::of_range(object, nonce) };
        let Some(right) = right_answer(setup, challenge).await else { return Found::Nothing };
        let ask = Ask::Prove { owner: self.own(), challenge };
        let patience = Duration::from_millis(ANSWER_WITHIN_MS);
        match self.parts.network.call(agent, ask, Bytes::new(), patience).await {
            Ok((Answer::Proof(proof), _)) if proof == right => Found::Proven,
            Ok(_) | Err(CallError::Malformed(_)) => Found::Lied,
            Err(CallError::No { no: No::NotFound | No::Damaged, .. }) => Found::Lost,
            Err(CallError::No { .. }) => Found::Unanswered,
            // Can it be reached otherwise?
            Err(CallError::Unreachable(_)) => match self.standing_of(agent).await {
                Ok(_) => Found::Unanswered,
                Err(_) => Found::Nothing,
            },
        }
    }

    /// Tells what was found; false: nothing more of this one now.
    fn judge(&self, setup: &Setup, agent: AgentId, object: &Object, found: Found) -> bool {
        let mut books = setup.books();
        // What is deleted meanwhile nobody has to prove.
        if books.catalogue.state().get(&object.name).is_none() {
            return true;
        }
        let unanswered = match found {
            Found::Unanswered => books.peer(agent).unanswered.saturating_add(1),
            _ => 0,
        };
        books.peer(agent).unanswered = unanswered;
        match found {
            Found::Proven => books.replication.proven(agent, &object.name),
            Found::Lost => books.note_damaged(agent, &object.name, self.now()),
            Found::Unanswered if unanswered < UNANSWERED_LIMIT => return false,
            Found::Lied | Found::Unanswered => {
                let how = if unanswered == 0 { Lie::WrongBytes } else { Lie::FailedChallenge };
                tracing::error!(peer = %agent.fingerprint(), object = %object.name, ?how, "a holder does not have what it says");
                books.peer(agent).unanswered = 0;
                books.replication.lied(agent, &object.name, how);
                self.choose_now.store(true, Ordering::Relaxed);
                books.note_distrust();
                drop(books);
                self.wake_copies.notify_one();
                return false;
            }
            Found::Nothing => return false,
        }
        books.note_distrust();
        drop(books);
        self.wake_copies.notify_one();
        true
    }
}

/// What this PC's own bytes answer.
async fn right_answer(setup: &Arc<Setup>, challenge: Challenge) -> Option<Right> {
    let setup = Arc::clone(setup);
    let read = blocking(move || {
        let length = usize::try_from(challenge.length).unwrap_or(usize::MAX);
        let bytes = setup.objects.read(&challenge.object, challenge.offset, length)?;
        Ok((bytes.len() == length).then(|| challenge.answer(&bytes)))
    });
    read.await.ok().flatten()
}
