//! Who answers: the real core, pinging on virtual time.

use std::time::Duration;

use shoal_care::{PresenceEvent, Room, SelfReport, Standing};
use shoal_ledger::query;

use crate::exec::{MS, SECOND};
use crate::ledger::look;
use crate::serve::{Reply, Request};
use crate::world::{Sim, World, agent_id, agent_number};

/// How long a ping waits for its answer.
const PING_TIMEOUT_US: u64 = 900 * MS;
/// How often it is looked who is to be pinged.
const LOOK_EVERY_US: u64 = SECOND;
/// Pings begun in one look, at most.
const PINGS_AT_ONCE: usize = 16;

/// What an agent says of itself.
pub(crate) fn pong(sim: &Sim, me: usize, from: usize) -> Reply {
    sim.with(|world| {
        world.hear(me, from, None);
        let position = if world.agents[me].holds_ledger() { world.agents[me].applied } else { 0 };
        Reply::Pong(Box::new(SelfReport {
            position,
            room: world.room(me),
            owed_bytes: world.owed_bytes(me),
            standing: Standing::default(),
            busy_permille: None,
        }))
    })
}

impl World {
    /// What an agent's disk has room for.
    pub(crate) fn room(&self, agent: usize) -> Room {
        let disk = &self.agents[agent].disk;
        let usable = !disk.unplugged;
        Room {
            unplugged: false,
            capacity_bytes: if usable { disk.capacity_bytes() } else { 0 },
            used_bytes: disk.used_bytes(),
            free_bytes: if usable { disk.free_bytes() } else { 0 },
            shards: disk.len() as u64,
        }
    }

    /// What an agent has to give back to its owner.
    pub(crate) fn owed_bytes(&self, agent: usize) -> u64 {
        let disk = &self.agents[agent].disk;
        disk.used_bytes().saturating_sub(disk.capacity_bytes())
    }

    pub(crate) fn steady(&self, agent: usize) -> Duration {
        Duration::from_micros(self.steady_us(agent))
    }

    fn hear(&mut self, me: usize, who: usize, report: Option<SelfReport>) {
        let now = self.steady(me);
        self.agents[me].presence.apply(now, PresenceEvent::Heard(agent_id(who), report));
    }

    /// Someone let this agent wait.
    pub(crate) fn missed(&mut self, me: usize, who: usize) {
        let now = self.steady(me);
        self.agents[me].presence.apply(now, PresenceEvent::LetWait(agent_id(who)));
    }
}

/// Keeps an agent's knowledge of the others, for as long as it runs.
pub(crate) async fn watch(sim: Sim, me: usize) {
    loop {
        let Some(members) = look(&sim, me, |view| query::agents(view)) else { return };
        let due = sim.with(|world| {
            let now = world.steady(me);
            let others = members.iter().map(|member| member.id).filter(|id| *id != agent_id(me));
            let presence = &mut world.agents[me].presence;
            presence.set_members(now, others);
            presence.due(now, PINGS_AT_ONCE)
        });
        for other in due {
            let sim = sim.clone();
            sim.clone().spawn_on(me, async move { ping(&sim, me, agent_number(other)).await });
        }
        sim.sleep_on(me, LOOK_EVERY_US).await;
    }
}

async fn ping(sim: &Sim, me: usize, other: usize) {
    let answer = sim.call(me, other, Request::Ping, PING_TIMEOUT_US).await;
    sim.with(|world| {
        let now = world.steady(me);
        match answer {
            Ok(Reply::Pong(report)) => world.hear(me, other, Some(*report)),
            _ => {
                world.agents[me].presence.apply(now, PresenceEvent::Missed(agent_id(other)));
            }
        }
    });
}
