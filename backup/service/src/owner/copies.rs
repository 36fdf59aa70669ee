//! Copies: what each holder lacks is sent to it, and what it says of its copy is noted.
//!
//! A holder that comes into sight is *contacted*: it says how far it knows the catalogue, gets what follows, and lists what it
//! has. That is done alone, after what was on its way to it has arrived or not: what is heard of it must be told in order. Then
//! [`Replication::due`](shoal_backup::replication::Replication::due) says what goes to whom.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup::replication::SendFailure;
use shoal_backup::{Object, ObjectKind, ObjectName};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::full::CATALOGUE_BYTES;
use super::{Owner, Setup, blocking, rate};
use crate::call::{self, Answer, Ask, CallError, NAMES_LIMIT, No, PIECE_LIMIT_BYTES, Standing};

/// How long a piece may take.
const PIECE_PATIENCE: Duration = Duration::from_secs(120);
/// A holder may say so often that it has more or less of an object than was thought, before it is given up for now.
const CORRECTIONS_LIMIT: u32 = 3;
/// Waits before a holder is contacted again after that failed.
const CONTACT_FIRST_MS: u64 = 5_000;
const CONTACT_LIMIT_MS: u64 = 10 * 60_000;
/// Lists of one holder, at most: as many names as there can be objects, and one more.
const LISTS_LIMIT: usize = shoal_backup::OBJECTS_LIMIT / NAMES_LIMIT + 2;
/// Tails that are sent in a row, at most.
const TAILS_LIMIT: usize = 10_000;
/// Rates are of so long.
const SENT_MS: u64 = 5 * 60_000;

/// What ended.
enum Done {
    Tended,
    Fetched,
    Looked,
    WithPeer,
}

/// What is under way, beside what is with peers.
#[derive(Default)]
struct UnderWay {
    tends: bool,
    tended: Option<Instant>,
    fetches: bool,
    looks: bool,
    /// When holders without room were asked for it, on the steady clock.
    looked_ms: Option<u64>,
    /// When peers were chosen, on the steady clock, and who answered then.
    chosen: Option<(u64, Vec<AgentId>)>,
}

impl Owner {
    pub(super) async fn run_copies(self: Arc<Self>, shutdown: CancellationToken) {
        let (mut jobs, mut under_way) = (JoinSet::new(), UnderWay::default());
        while !shutdown.is_cancelled() {
            if let Ok(setup) = self.setup() {
                self.tend(&setup, &mut jobs, &mut under_way);
                self.serve(&setup, &mut jobs);
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.wake_copies.notified() => {}
                () = tokio::time::sleep(self.parts.pace.tick) => {}
                Some(done) = jobs.join_next() => match done {
                    Ok(Done::Tended) => under_way.tends = false,
                    Ok(Done::Fetched) => under_way.fetches = false,
                    Ok(Done::Looked) => under_way.looks = false,
                    Ok(Done::WithPeer) => {}
                    Err(error) => {
                        tracing::error!(%error, "work on copies broke off");
                        (under_way.tends, under_way.fetches, under_way.looks) = (false, false, false);
                    }
                },
            }
        }
        jobs.shutdown().await;
        if let Ok(setup) = self.setup() {
            // What blocks goes on to its end: nobody else may open the folder before.
            drop(setup.work.lock().await);
        }
    }

    /// Clears, chooses, releases, fetches back: one at a time.
    fn tend(self: &Arc<Self>, setup: &Arc<Setup>, jobs: &mut JoinSet<Done>, under_way: &mut UnderWay) {
        let now_ms = self.now().steady_ms;
        let mut reachable: Vec<AgentId> =
            self.parts.network.members().iter().filter(|it| it.away_ms.is_none()).map(|it| it.agent).collect();
        reachable.sort_unstable();
        let (wants_peers, has_unusable, has_missing, has_full) = {
            let books = setup.books();
            let stuck = books.copies_missing > 0 || books.peers.values().any(|peer| peer.is_full());
            (
                stuck || !books.state.distrusted().is_empty(),
                !books.unusable.is_empty(),
                !books.missing.is_empty(),
                books.full_peers().next().is_some(),
            )
        };
        let chooses_now = self.choose_now.load(Ordering::Relaxed);
        let is_time = under_way.tended.is_none_or(|at| at.elapsed() >= self.parts.pace.tick);
        if !under_way.tends && (is_time || chooses_now) {
            under_way.tended = Some(Instant::now());
            self.choose_now.store(false, Ordering::Relaxed);
            // When somebody new is there and a copy has no place it is looked at once; whom an admin assigned and who had no room is
            // looked at as others without room are.
            let wait_ms = if has_unusable { self.parts.pace.room_every_ms } else { u64::MAX };
            let wait_ms = wait_ms.min(self.parts.pace.choose_every_ms);
            let is_due = under_way.chosen.as_ref().is_none_or(|(at_ms, then)| {
                now_ms.saturating_sub(*at_ms) >= wait_ms || ((wants_peers || has_unusable) && *then != reachable)
            }) || chooses_now;
            if is_due {
                under_way.chosen = Some((now_ms, reachable));
            }
            under_way.tends = true;
            let (owner, setup) = (Arc::clone(self), Arc::clone(setup));
            jobs.spawn(async move {
                owner.tend_once(&setup, is_due).await;
                Done::Tended
            });
        }
        let is_time = |at_ms: u64| now_ms.saturating_sub(at_ms) >= self.parts.pace.room_every_ms;
        if has_full && !under_way.looks && under_way.looked_ms.is_none_or(is_time) {
            (under_way.looks, under_way.looked_ms) = (true, Some(now_ms));
            let (owner, setup) = (Arc::clone(self), Arc::clone(setup));
            jobs.spawn(async move {
                owner.look_for_room(&setup).await;
                Done::Looked
            });
        }
        if has_missing && !under_way.fetches {
            under_way.fetches = true;
            let (owner, setup) = (Arc::clone(self), Arc::clone(setup));
            jobs.spawn(async move {
                match owner.fetch_missing(&setup).await {
                    Ok(true) => owner.wake_copies.notify_one(),
                    Ok(false) => tokio::time::sleep(owner.parts.pace.tick).await,
                    Err(error) => {
                        tracing::warn!(%error, "what this PC lost did not come back yet");
                        tokio::time::sleep(owner.parts.pace.patience).await;
                    }
                }
                Done::Fetched
            });
        }
    }

    async fn tend_once(self: &Arc<Self>, setup: &Arc<Setup>, chooses: bool) {
        let is_clear = match self.clear(setup).await {
            Ok(is_clear) => is_clear,
            Err(error) => {
                tracing::warn!(%error, "whether this PC was set back is not known yet");
                false
            }
        };
        // A run that is on does it when it ends.
        if is_clear
            && setup.books().is_untold
            && let Ok(alone) = Arc::clone(&setup.work).try_lock_owned()
        {
            let (owner, work) = (Arc::clone(self), Arc::clone(setup));
            let together = blocking(move || {
                let together = owner.bring_together(&work);
                drop(alone);
                together
            });
            let together = together.await;
            let mut books = setup.books();
            match together {
                Ok(()) => {
                    books.is_untold = false;
                    books.trouble = None;
                    books.is_full &= books.state.last_run.as_ref().is_some_and(|last| last.error.is_some());
                    self.wake_copies.notify_one();
                }
                Err(error) => {
                    tracing::error!(%error, "catalogue and repository could not be brought together");
                    books.note_trouble(&error);
                }
            }
        }
        if is_clear && chooses {
            self.choose_peers(setup).await;
            self.wake_copies.notify_one();
        }
        if is_clear {
            self.release_peers(setup).await;
        } else {
            tokio::time::sleep(self.parts.pace.tick).await;
        }
    }

    /// Contacts whom it must, sends what is due.
    fn serve(self: &Arc<Self>, setup: &Arc<Setup>, jobs: &mut JoinSet<Done>) {
        let now = self.now();
        let members = self.parts.network.members();
        let is_paused = self.pause_of(setup).is_some();
        let mut books = setup.books();
        if !books.clearance.is_clear {
            return;
        }
        let sequence = books.catalogue.state().sequence();
        let holders: Vec<AgentId> = books.replication.peers().collect();
        for agent in holders {
            let is_reachable = members.iter().any(|member| member.agent == agent && member.away_ms.is_none());
            books.replication.reachable(agent, is_reachable);
            let peer = books.peer(agent);
            if is_reachable && !peer.is_reachable {
                (peer.failures, peer.not_before_ms) = (0, 0);
            }
            peer.is_reachable = is_reachable;
            if !is_reachable {
                (peer.sequence, peer.reported_ms) = (None, None);
                continue;
            }
            if peer.is_busy {
                continue;
            }
            let is_old = |at_ms: u64| now.steady_ms.saturating_sub(at_ms) >= self.parts.pace.report_every_ms;
            let lists = peer.sequence.is_none() || peer.reported_ms.is_none_or(is_old);
            let wants = lists || peer.sequence.is_none_or(|known| known < sequence);
            let may = peer.sending.is_empty() && now.steady_ms >= peer.not_before_ms;
            peer.is_busy = wants && may;
            books.replication.pulls(agent, wants);
            if wants && may {
                let (owner, setup) = (Arc::clone(self), Arc::clone(setup));
                jobs.spawn(async move {
                    owner.contact(&setup, agent, lists).await;
                    Done::WithPeer
                });
            }
        }
        if let Some(archive) = books.asked_archive {
            let is_there = books.archives.iter().any(|it| it.number == Some(archive));
            let is_safe = books.replication.protection(archive).is_some_and(|it| it.copies >= it.of);
            books.asked_archive = Some(archive).filter(|_| is_there && !is_safe);
        }
        if is_paused && books.asked_archive.is_none() {
            return;
        }
        for send in books.replication.due(now.steady_ms) {
            if !books.peer(send.peer).sending.insert(send.object.name) {
                continue;
            }
            let (owner, setup) = (Arc::clone(self), Arc::clone(setup));
            jobs.spawn(async move {
                owner.send(&setup, send.peer, send.object).await;
                Done::WithPeer
            });
        }
    }

    async fn contact(&self, setup: &Setup, agent: AgentId, lists: bool) {
        let contacted = self.contact_once(setup, agent, lists).await;
        let now_ms = self.now().steady_ms;
        {
            let mut books = setup.books();
            let peer = books.peer(agent);
            peer.is_busy = false;
            match contacted {
                Ok(()) => {
                    (peer.failures, peer.refuses) = (0, None);
                    peer.full_for_bytes = peer.full_for_bytes.filter(|bytes| *bytes > CATALOGUE_BYTES);
                    self.note_whole(&mut books, agent);
                }
                Err(error) => {
                    tracing::debug!(peer = %agent.fingerprint(), %error, "a holder was not reached");
                    peer.refuses = match &error {
                        CallError::No { no: No::Full, .. } => {
                            self.note_full(peer, CATALOGUE_BYTES);
                            None
                        }
                        CallError::No { reason, .. } => Some(reason.clone()),
                        CallError::Unreachable(_) | CallError::Malformed(_) => None,
                    };
                    peer.sequence = None;
                    let wait_ms = CONTACT_FIRST_MS.saturating_mul(1 << peer.failures.min(16)).min(CONTACT_LIMIT_MS);
                    peer.failures = peer.failures.saturating_add(1);
                    peer.not_before_ms = now_ms.saturating_add(wait_ms);
                }
            }
        }
        self.wake_copies.notify_one();
    }

    async fn contact_once(&self, setup: &Setup, agent: AgentId, lists: bool) -> Result<(), CallError> {
        let mut standing = self.standing_of(agent).await?;
        if !standing.holds {
            standing = self.hold(agent).await?;
        }
        let wall_ms = self.now().wall_ms;
        let ahead_ms = standing.wall_ms.checked_signed_diff(wall_ms);
        setup.books().peer(agent).wall_ahead_ms = ahead_ms;
        if standing.sequence > setup.books().catalogue.state().sequence() {
            self.take_tail_from(&setup.books, agent)
                .await
                .map_err(|error| CallError::no(No::Failed, error.to_string()))?;
            setup.books().is_untold = true;
        }
        let sequence = self.bring_up(setup, agent, standing).await?;
        if lists {
            let names = self.list_of(agent).await?;
            let mut books = setup.books();
            books.replication.reported(agent, names);
            books.peer(agent).reported_ms = Some(self.now().steady_ms);
            books.note_distrust();
        }
        setup.books().peer(agent).sequence = Some(sequence);
        Ok(())
    }

    /// Sends what a holder lacks of the catalogue; how far it is then.
    async fn bring_up(&self, setup: &Setup, agent: AgentId, mut standing: Standing) -> Result<u64, CallError> {
        let owner = self.own();
        for _ in 0..TAILS_LIMIT {
            let (tail, base) = {
                let books = setup.books();
                if standing.sequence >= books.catalogue.state().sequence() {
                    return Ok(standing.sequence);
                }
                let mut tail = books.catalogue.tail(standing.sequence);
                (tail.entries, tail.base.take().map(|base| Bytes::from(base.to_bytes())))
            };
            let before = standing.sequence;
            if let Some(base) = base {
                let size_bytes = base.len() as u64;
                let mut offset = 0;
                while offset < base.len() {
                    let piece = base.slice(offset..(offset + PIECE_LIMIT_BYTES as usize).min(base.len()));
                    let length = piece.len();
                    let ask = Ask::Base { owner, offset: offset as u64, size_bytes };
                    standing = standing_in(self.call(agent, ask, piece).await?)?;
                    offset += length;
                }
            }
            if !tail.is_empty() {
                let body = call::entries_to_bytes(&tail);
                standing = standing_in(self.call(agent, Ask::Entries { owner }, body).await?)?;
            }
            if standing.sequence <= before {
                return Err(CallError::no(No::Failed, "it does not take the catalogue"));
            }
        }
        Ok(standing.sequence)
    }

    /// All that a holder says it has.
    async fn list_of(&self, agent: AgentId) -> Result<Vec<ObjectName>, CallError> {
        let (owner, mut names) = (self.own(), Vec::<ObjectName>::new());
        for _ in 0..LISTS_LIMIT {
            let after = names.last().copied();
            let (_, body) = self.call(agent, Ask::Held { owner, after }, Bytes::new()).await?;
            let list = call::names_from_bytes(&body)
                .filter(|list| {
                    list.is_sorted() && (after.is_none() || list.first().copied() > after || list.is_empty())
                })
                .ok_or_else(|| CallError::Malformed("its list".to_owned()))?;
            let is_last = list.len() < NAMES_LIMIT;
            names.extend(list);
            if is_last {
                return Ok(names);
            }
        }
        Err(CallError::Malformed("its list is endless".to_owned()))
    }

    /// Sends an object, and tells what came of it.
    async fn send(self: &Arc<Self>, setup: &Arc<Setup>, agent: AgentId, object: Object) {
        let sent = self.send_pieces(setup, agent, &object).await;
        let steady_ms = self.now().steady_ms;
        let is_bad_here =
            matches!(&sent, Err(NotSent::Here)) || matches!(&sent, Err(NotSent::There(error)) if is_damaged(error));
        {
            let mut books = setup.books();
            books.peer(agent).sending.remove(&object.name);
            match sent {
                Ok(()) => {
                    books.replication.confirmed(agent, &object.name);
                    let peer = books.peer(agent);
                    peer.refuses = None;
                    peer.full_for_bytes = peer.full_for_bytes.filter(|bytes| object.size_bytes < *bytes);
                    peer.partial.remove(&object.name);
                    // Snapshots come last.
                    if object.kind == ObjectKind::Snapshot || books.replication.is_full_copy(agent) {
                        self.note_whole(&mut books, agent);
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %agent.fingerprint(), object = %object.name, %error, "an object was not sent");
                    let why = match &error {
                        NotSent::There(CallError::No { no: No::Full, .. }) => SendFailure::Full,
                        NotSent::There(CallError::Unreachable(_) | CallError::No { no: No::Busy, .. }) => {
                            SendFailure::Unreachable
                        }
                        NotSent::There(_) | NotSent::Here => SendFailure::Refused,
                    };
                    books.replication.failed(agent, &object.name, why, steady_ms);
                    let peer = books.peer(agent);
                    if why == SendFailure::Full {
                        self.note_full(peer, object.size_bytes);
                    }
                    if why == SendFailure::Refused {
                        // It may not be a holder any more, or know less of the catalogue than was thought.
                        peer.sequence = None;
                        peer.not_before_ms = steady_ms.saturating_add(CONTACT_FIRST_MS);
                    }
                }
            }
        }
        if is_bad_here {
            self.look_at_own(setup, &object).await;
        }
        self.wake_copies.notify_one();
    }

    async fn send_pieces(&self, setup: &Arc<Setup>, agent: AgentId, object: &Object) -> Result<(), NotSent> {
        let name = object.name;
        let known = setup.books().peer(agent).partial.get(&name).copied();
        let is_long = object.size_bytes > rate::piece_bytes(self.bandwidth_kib_s(), PIECE_LIMIT_BYTES) as u64;
        // An empty piece at the end: it says what it has of a long one from before.
        let mut offset = known.unwrap_or(if is_long { object.size_bytes } else { 0 });
        let mut corrections = 0;
        loop {
            let limit = self.bandwidth_kib_s();
            let length = rate::piece_bytes(limit, PIECE_LIMIT_BYTES);
            let piece = if offset == object.size_bytes {
                Bytes::new()
            } else {
                let setup = Arc::clone(setup);
                blocking(move || Ok(setup.objects.read(&name, offset, length)?)).await.map_err(|_| NotSent::Here)?
            };
            if piece.is_empty() && offset < object.size_bytes {
                return Err(NotSent::Here);
            }
            let sent_bytes = piece.len() as u64;
            self.rate.take(sent_bytes, limit).await;
            let ask = Ask::Put { name, offset };
            let (answer, _) =
                self.parts.network.call(agent, ask, piece, PIECE_PATIENCE).await.map_err(NotSent::There)?;
            let Answer::Kept { have_bytes, stored } = answer else {
                return Err(NotSent::There(CallError::Malformed("another answer than what it kept".to_owned())));
            };
            let now_ms = self.now().steady_ms;
            let mut books = setup.books();
            books.peer(agent).note_sent(sent_bytes, now_ms);
            if stored {
                return Ok(());
            }
            books.peer(agent).partial.insert(name, have_bytes);
            if have_bytes != offset + sent_bytes {
                corrections += 1;
            }
            if corrections > CORRECTIONS_LIMIT || have_bytes >= object.size_bytes {
                books.peer(agent).partial.remove(&name);
                return Err(NotSent::There(CallError::no(No::Refused, "it does not take it to the end")));
            }
            offset = have_bytes;
        }
    }

    pub(super) fn bandwidth_kib_s(&self) -> Option<u32> {
        self.plan().ok().and_then(|plan| plan.limits.bandwidth_kib_s)
    }
}

impl super::books::Peer {
    pub(super) fn is_full(&self) -> bool {
        self.full_for_bytes.is_some()
    }

    fn note_sent(&mut self, bytes: u64, now_ms: u64) {
        let (sent, since_ms) = &mut self.sent;
        if *sent == 0 {
            *since_ms = now_ms;
        } else if now_ms.saturating_sub(*since_ms) > SENT_MS {
            (*sent, *since_ms) = (*sent / 2, now_ms.saturating_sub(SENT_MS / 2));
        }
        *sent += bytes;
    }

    /// How long so many bytes take at the rate of the last minutes.
    pub(super) fn eta_ms(&self, bytes: u64, now_ms: u64) -> Option<u64> {
        let (sent, since_ms) = self.sent;
        let passed_ms = now_ms.saturating_sub(since_ms);
        shoal_backup::eta_ms(sent, bytes, passed_ms).filter(|_| passed_ms < 2 * SENT_MS)
    }
}

/// Why an object was not sent.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error(transparent)]
    There(CallError),
    #[error("it could not be read here")]
    Here,
}

fn is_damaged(error: &CallError) -> bool {
    matches!(error, CallError::No { no: No::Damaged, .. })
}

fn standing_in((answer, _): (Answer, Bytes)) -> Result<Standing, CallError> {
    match answer {
        Answer::Standing(standing) => Ok(standing),
        _ => Err(CallError::Malformed("another answer than how far it is".to_owned())),
    }
}
