//! Who holds copies: all members that answer are asked what they give, [`shoal_backup::peers`] chooses, who is chosen is asked to
//! hold, who is replaced is told when others have everything.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dci_proto::AgentId;
use futures::StreamExt as _;
use shoal_backup::Now;
use shoal_backup::peers::{Candidate, Choice, CopyState, MachineId, Share, Unusable, Wanted, choose};

use super::books::Books;
use super::stored::Holder;
use super::{Owner, Setup};
use crate::call::{Answer, Ask, CallError, No, Room, Standing};
use crate::network::Member;

/// Members that are asked at the same time.
const ASKED_AT_ONCE: usize = 16;
/// Members that are asked, at most.
const MEMBERS_LIMIT: usize = 1_024;
/// When somebody who was chosen refuses, others are chosen, so many times.
const ROUNDS: usize = 4;

impl Owner {
    /// Looks at everybody; who begins and who ends is noted and told.
    pub(super) async fn choose_peers(&self, setup: &Setup) {
        let members = self.parts.network.members();
        if members.is_empty() {
            // The pool is not known yet, or this PC is alone: nobody left it because of that.
            let mut books = setup.books();
            books.copies_missing = usize::from(books.plan.copies).saturating_sub(books.replication.peers().count());
            return;
        }
        let reachable = members.iter().filter(|member| member.away_ms.is_none()).take(MEMBERS_LIMIT).cloned();
        let asked = futures::stream::iter(reachable.collect::<Vec<_>>()).map(async |member| {
            let answer = self.call(member.agent, Ask::Room, Bytes::new()).await;
            (member.agent, answer)
        });
        let answers: Vec<_> = asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
        let rooms: BTreeMap<AgentId, Room> = answers
            .into_iter()
            .filter_map(|(agent, answer)| match answer {
                Ok((Answer::Room(room), _)) => Some((agent, room)),
                _ => None,
            })
            .collect();
        let had_none = {
            let mut books = setup.books();
            books.note_members(&members);
            books.note_heard(rooms.keys(), self.now());
            books.note_room(&rooms)
        };
        if had_none {
            self.wake_copies.notify_one();
        }
        let (mut refused, mut choice, mut missing) = (BTreeSet::new(), Choice::default(), 0);
        for _ in 0..ROUNDS {
            choice = {
                let mut books = setup.books();
                let choice = self.choice(&books, &members, &rooms, &refused);
                books.unusable = choice.unusable.iter().map(|(agent, why)| (*agent, said(*why).to_owned())).collect();
                choice
            };
            missing = choice.missing;
            let before = refused.len();
            for agent in &choice.begin {
                if !self.ask_to_hold(setup, *agent).await {
                    refused.insert(*agent);
                    missing += 1;
                }
            }
            // Somebody else may.
            if refused.len() == before {
                break;
            }
        }
        let mut books = setup.books();
        books.copies_missing = missing;
        for agent in choice.end {
            tracing::info!(peer = %agent.fingerprint(), "a peer holds a copy no more");
            books.replication.unassign(agent);
            books.state.holders.remove(&agent);
            if members.iter().any(|member| member.agent == agent) {
                books.state.releasing.insert(agent);
            }
        }
        books.save_or_warn();
    }

    /// Who begins and who ends, if those that refused are not asked again.
    fn choice(
        &self,
        books: &Books,
        members: &[Member],
        rooms: &BTreeMap<AgentId, Room>,
        refused: &BTreeSet<AgentId>,
    ) -> Choice {
        let now = self.now();
        let candidate = |member: &Member| {
            let kept = books.state.holders.get(&member.agent).map(|holder| holder.room.clone());
            // Of one that holds a copy and said nothing yet the best is thought.
            let room = rooms
                .get(&member.agent)
                .cloned()
                .or_else(|| kept.map(|room| room.unwrap_or_else(|| unknown(member))))?;
            Some(Candidate {
                agent: member.agent,
                machine: room.machine,
                site: member.site.clone(),
                share: room.share,
                uptime_permille: room.uptime_permille,
                owners: room.owners,
                away_ms: books.away_ms(member, now),
                is_distrusted: books.state.distrusted().contains(&member.agent),
            })
        };
        let askable = members.iter().filter(|member| !refused.contains(&member.agent));
        let candidates: Vec<Candidate> = askable.filter_map(candidate).collect();
        let wanted = Wanted {
            owner: self.own(),
            machine: self.parts.machine_id,
            site: self.parts.site.clone(),
            copies: usize::from(books.plan.copies),
            size_bytes: books.catalogue.state().size_bytes(),
            assigned: books.plan.assigned.clone(),
        };
        let state = |agent: AgentId| {
            let peer = books.peers.get(&agent);
            let refuses = peer.is_some_and(|peer| peer.is_full() || peer.refuses.is_some());
            let lacks_bytes = books.replication.progress(agent).map_or(0, |progress| progress.lacks_bytes);
            let coming = peer.into_iter().flat_map(|peer| &peer.sending);
            let coming = coming.filter_map(|name| books.catalogue.state().get(name)).map(|object| object.size_bytes);
            let share = rooms.get(&agent).map(|room| &room.share);
            CopyState::of(books.replication.is_full_copy(agent), refuses, lacks_bytes, coming.sum(), share)
        };
        let holders: BTreeMap<AgentId, CopyState> =
            books.replication.peers().map(|agent| (agent, state(agent))).collect();
        choose(&wanted, &candidates, &holders)
    }

    /// Asks one to hold a copy; true if it does.
    async fn ask_to_hold(&self, setup: &Setup, agent: AgentId) -> bool {
        match self.hold(agent).await {
            Ok(_) => {}
            Err(error) => {
                tracing::info!(peer = %agent.fingerprint(), %error, "a peer would not hold a copy");
                return false;
            }
        }
        let member = self.parts.network.members().into_iter().find(|member| member.agent == agent);
        let mut books = setup.books();
        if let Err(error) = books.replication.assign(agent) {
            tracing::warn!(%error, "a peer more than there may be");
            return false;
        }
        if books.state.distrusted().contains(&agent) {
            books.replication.distrust(agent);
        }
        books.state.releasing.remove(&agent);
        let heard_ms = books.state.clock.tick(self.now());
        let holder = books.state.holders.entry(agent).or_default();
        holder.heard_ms = heard_ms;
        if let Some(member) = member {
            (holder.name, holder.addresses) = (member.name, member.addresses);
        }
        *books.peer(agent) = super::books::Peer { is_reachable: true, ..super::books::Peer::default() };
        books.replication.reachable(agent, true);
        books.save_or_warn();
        tracing::info!(peer = %agent.fingerprint(), "a peer holds a copy from now on");
        true
    }

    pub(super) async fn hold(&self, agent: AgentId) -> Result<Standing, CallError> {
        match self.call(agent, Ask::Hold, Bytes::new()).await? {
            (Answer::Standing(standing), _) if standing.holds => Ok(standing),
            _ => Err(CallError::no(No::Refused, "it does not say that it holds a copy")),
        }
    }

    /// Tells those that are replaced; who is away is told later.
    pub(super) async fn release_peers(&self, setup: &Setup) {
        let members = self.parts.network.members();
        let releasing: Vec<AgentId> = setup.books().state.releasing.iter().copied().collect();
        for agent in releasing {
            let done = match members.iter().find(|member| member.agent == agent) {
                // It left the pool.
                None => true,
                Some(member) if member.away_ms.is_some() => false,
                Some(_) => match self.call(agent, Ask::Release, Bytes::new()).await {
                    Ok(_) | Err(CallError::No { no: No::NotFound | No::Refused, .. }) => true,
                    Err(_) => false,
                },
            };
            if done {
                let mut books = setup.books();
                // It may have been chosen again meanwhile.
                if !books.state.holders.contains_key(&agent) {
                    books.peers.remove(&agent);
                }
                books.state.releasing.remove(&agent);
                books.save_or_warn();
            }
        }
    }
}

impl Books {
    /// These holders answered.
    fn note_heard<'a>(&mut self, agents: impl Iterator<Item = &'a AgentId>, now: Now) {
        let heard_ms = self.state.clock.tick(now);
        for agent in agents {
            if let Some(holder) = self.state.holders.get_mut(agent) {
                holder.heard_ms = heard_ms;
            }
        }
    }

    /// For how long a member has not answered. Of a holder it is known over restarts of this PC, or it would never be replaced
    /// where that one is off at night.
    pub(super) fn away_ms(&self, member: &Member, now: Now) -> Option<u64> {
        let away_ms = member.away_ms?;
        let mut clock = self.state.clock;
        let holder = self.state.holders.get(&member.agent);
        Some(holder.map_or(away_ms, |holder| away_ms.max(clock.tick(now).saturating_sub(holder.heard_ms))))
    }

    fn note_members(&mut self, members: &[Member]) {
        for (agent, holder) in &mut self.state.holders {
            if let Some(member) = members.iter().find(|member| member.agent == *agent) {
                let Holder { name, addresses, .. } = holder;
                name.clone_from(&member.name);
                if !member.addresses.is_empty() {
                    addresses.clone_from(&member.addresses);
                }
            }
        }
    }
}

/// What is thought of a holder that has said nothing: it has room, and a computer of its own.
fn unknown(member: &Member) -> Room {
    let mut machine = [0; 16];
    machine.copy_from_slice(&member.agent.0[..16]);
    let share = Share { limit_bytes: u64::MAX, used_bytes: 0, free_bytes: u64::MAX, reserve_bytes: 0 };
    Room { share, machine: MachineId(machine), uptime_permille: 0, owners: 0 }
}

fn said(why: Unusable) -> &'static str {
    match why {
        Unusable::Unknown => "it is not in the pool, or was not seen since this PC started",
        Unusable::OwnMachine => "it runs on this very computer, which is lost together with what it keeps",
        Unusable::SameMachine => "it runs on the same computer as another copy",
        Unusable::NoRoom => "it gives no room, or too little",
    }
}
