//! Who is next to this agent: members that answer and are reached directly. The router is told as they come and go, and
//! neighbours tell each other who theirs are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dci_proto::AgentId;
use dci_proto::message::Recipient;
use dci_proto::router::Event;
use shoal_ledger::query;
use shoal_net::Lane;
use tokio::task::JoinSet;

use super::Messages;
use crate::health::Presence;
use crate::wire::{self, Method};

/// How often it is looked who is there, besides whenever an agent comes or goes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How soon after one look the next comes.
const SETTLE: Duration = Duration::from_millis(100);
/// How long a neighbour may take to tell its own.
const TELL_TIMEOUT: Duration = Duration::from_secs(3);
/// Neighbours told at once.
const TOLD_AT_ONCE: usize = 16;
/// Neighbours told of and taken from another agent, at most: as many as a router has.
pub(super) const NEIGHBOURS_LIMIT: usize = 512;
/// After a change of the ledger groups are read again no sooner than this.
const GROUPS_SETTLE: Duration = Duration::from_millis(200);

impl Messages {
    /// Keeps the router in step with who is there.
    pub(super) async fn follow_links(self: Arc<Self>) {
        let mut changes = self.health.changes();
        let mut up = BTreeSet::new();
        // Which list each neighbour was told last.
        let mut told: BTreeMap<AgentId, BTreeSet<AgentId>> = BTreeMap::new();
        loop {
            self.look_for_links(&mut up);
            told.retain(|agent, _| up.contains(agent));
            let to_tell: Vec<AgentId> = up.iter().filter(|agent| told.get(agent) != Some(&up)).copied().collect();
            for agent in self.tell_neighbours(&to_tell, &up).await {
                told.insert(agent, up.clone());
            }
            let wait = async {
                tokio::select! {
                    _ = changes.changed() => {}
                    () = self.couriers.troubles().more() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                tokio::time::sleep(SETTLE).await;
            };
            if self.shutdown.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    fn look_for_links(&self, up: &mut BTreeSet<AgentId>) {
        let near: BTreeSet<AgentId> =
            self.members.all().into_iter().filter(|agent| self.is_neighbour(*agent)).take(NEIGHBOURS_LIMIT).collect();
        // Who does not take what it is given is passed by, where there is somebody else.
        let now = match &near - &self.couriers.troubles().agents() {
            none if none.is_empty() => near,
            some => some,
        };
        for gone in up.difference(&now) {
            self.link_down(*gone);
        }
        for come in now.difference(up) {
            self.link_up(*come);
        }
        let changed = now != *up;
        *up = self.router().neighbours().collect();
        if changed {
            self.ways_changed();
        }
    }

    /// Whether a member answers and is reached without others in between.
    pub(super) fn is_neighbour(&self, agent: AgentId) -> bool {
        agent != self.agent && self.health.view_of(agent).presence == Presence::Up && self.network.status(agent).direct
    }

    /// Others may be reached in another way than before: what was on its way to them may be lost, and what they said too.
    fn ways_changed(&self) {
        let neighbours: BTreeSet<AgentId> = self.router().neighbours().collect();
        for agent in self.members.all() {
            if agent != self.agent && !neighbours.contains(&agent) {
                self.mailbox.seen(agent);
            }
        }
        self.asking.ways_changed();
    }

    /// What waits for an agent is sent when it is seen.
    pub(super) fn link_up(&self, agent: AgentId) {
        let mut router = self.router();
        if router.neighbours().any(|known| known == agent) {
            return;
        }
        // The router may have no room for more.
        router.handle(self.steady_ms(), Event::LinkUp(agent));
        let linked = router.neighbours().any(|known| known == agent);
        if linked {
            self.couriers.begin(agent);
        }
        drop(router);
        if linked {
            self.directory_link_up(agent);
        }
        self.mailbox.seen(agent);
    }

    fn link_down(&self, agent: AgentId) {
        self.router().handle(self.steady_ms(), Event::LinkDown(agent));
        self.couriers.end(agent);
        self.directory_link_down(agent);
    }

    /// Tells neighbours who this agent's are, and hears theirs. Answers who was told.
    async fn tell_neighbours(self: &Arc<Self>, to: &[AgentId], list: &BTreeSet<AgentId>) -> Vec<AgentId> {
        let list: Arc<Vec<AgentId>> = Arc::new(list.iter().copied().collect());
        let mut told = Vec::new();
        for some in to.chunks(TOLD_AT_ONCE) {
            let mut asking = JoinSet::new();
            for agent in some.iter().copied() {
                let (messages, list) = (self.clone(), list.clone());
                asking.spawn(async move { messages.swap_with(agent, &list).await.then_some(agent) });
            }
            while let Some(done) = asking.join_next().await {
                told.extend(done.ok().flatten());
            }
        }
        told
    }

    async fn swap_with(&self, agent: AgentId, list: &Vec<AgentId>) -> bool {
        let Ok(request) = wire::request(Method::Neighbours, list) else { return false };
        let Ok(response) = self.network.call(agent, Lane::Foreground, request, TELL_TIMEOUT).await else {
            return false;
        };
        match wire::done::<Vec<AgentId>>(&response) {
            Ok(theirs) => {
                self.take_neighbours(agent, theirs);
                true
            }
            Err(_) => false,
        }
    }

    /// A neighbour tells who its neighbours are; answers this agent's.
    pub(crate) fn swap_neighbours(&self, from: AgentId, theirs: Vec<AgentId>) -> Vec<AgentId> {
        self.take_neighbours(from, theirs);
        self.router().neighbours().collect()
    }

    fn take_neighbours(&self, from: AgentId, mut theirs: Vec<AgentId>) {
        theirs.truncate(NEIGHBOURS_LIMIT);
        self.directory_happens(dci_proto::directory::Event::Neighbours(from, theirs.clone()));
        self.router().handle(self.steady_ms(), Event::Neighbours(from, theirs));
        self.ways_changed();
    }

    /// Keeps in step with which groups this agent is in, and sends messages to many on to who joins while they are valid.
    pub(super) async fn follow_groups(self: Arc<Self>) {
        match self.ledger.clone() {
            Some(ledger) => {
                let mut position = 0;
                let mut known = BTreeMap::new();
                while let Some(changed) = self.shutdown.run_until_cancelled(ledger.changed(position)).await {
                    position = changed;
                    let read = ledger.view().and_then(|view| Ok((query::groups(&*view)?, query::agents(&*view)?)));
                    match read {
                        Ok((groups, agents)) => {
                            let mut now: BTreeMap<Recipient, BTreeSet<AgentId>> = groups
                                .into_iter()
                                .map(|group| (Recipient::Group(group.name), group.agents.into_iter().collect()))
                                .collect();
                            now.insert(Recipient::All, agents.into_iter().map(|agent| agent.id).collect());
                            self.take_groups(&mut known, now).await;
                        }
                        Err(error) => tracing::warn!(%error, "the groups cannot be read"),
                    }
                    let pause = tokio::time::sleep(GROUPS_SETTLE);
                    if self.shutdown.run_until_cancelled(pause).await.is_none() {
                        return;
                    }
                }
            }
            None => self.ask_for_groups().await,
        }
    }

    async fn take_groups(
        &self,
        known: &mut BTreeMap<Recipient, BTreeSet<AgentId>>,
        now: BTreeMap<Recipient, BTreeSet<AgentId>>,
    ) {
        if *known == now {
            return;
        }
        self.set_groups(now.iter().filter_map(|(to, agents)| match to {
            Recipient::Group(name) if agents.contains(&self.agent) => Some(name.clone()),
            _ => None,
        }));
        for (to, agents) in &now {
            if known.get(to) == Some(agents) {
                continue;
            }
            if let Err(error) = self.mailbox.joined(to.clone(), agents.iter().copied().collect()).await {
                tracing::warn!(%error, "messages for who joined later cannot be kept for them");
                return;
            }
        }
        *known = now;
    }

    fn set_groups(&self, groups: impl Iterator<Item = dci_proto::message::GroupName>) {
        if let Ok(mut mine) = self.groups.write() {
            *mine = groups.collect();
        }
    }

    /// An agent without a ledger asks which groups it is in, and sees by its list of members who joined.
    async fn ask_for_groups(&self) {
        let mut known = BTreeMap::new();
        loop {
            let mut now = BTreeMap::new();
            now.insert(Recipient::All, self.members.all().into_iter().collect::<BTreeSet<_>>());
            for holder in self.members.ledger_holders(self.agent) {
                let Ok(request) = wire::request(Method::OwnGroups, &()) else { break };
                let answer = self.network.call(holder, Lane::Foreground, request, TELL_TIMEOUT).await;
                if let Some(groups) =
                    answer.ok().and_then(|answer| wire::done::<Vec<dci_proto::message::GroupName>>(&answer).ok())
                {
                    now.extend(groups.into_iter().map(|name| (Recipient::Group(name), BTreeSet::from([self.agent]))));
                    break;
                }
            }
            self.take_groups(&mut known, now).await;
            if self.shutdown.run_until_cancelled(tokio::time::sleep(ASK_EVERY)).await.is_none() {
                return;
            }
        }
    }
}

/// How often an agent without a ledger asks for its groups.
const ASK_EVERY: Duration = Duration::from_secs(10);
