//! What befalls the pool: crashes, sleep, cables, clocks, disks, and people who add and remove computers.
//!
//! Each run draws how often each kind happens, some not at all, so that runs differ in kind and not only in order. What would take
//! more than Shoal promises to survive is not injected ([`crate::atlas`]).

use dci_proto::ShardKey;
use shoal_ledger::{AgentState, Command, DrainCertificate, Outcome, query};

use crate::agent::{ABSENT_AFTER_S, Agent};
use crate::checkers;
use crate::exec::{MS, Owner, SECOND};
use crate::holder::{ORPHAN_GRACE_MS, shards_of};
use crate::ledger::{look, shard, shard_number, submit};
use crate::scenario::{MIB, agent_record, new_disk, new_roles, start};
use crate::world::{AGENTS_LIMIT, Sim, World, agent_id, agent_number};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Crash,
    Nap,
    LongSleep,
    Partition,
    OneWayCut,
    Loss,
    Duplicates,
    SlowNet,
    ClockJump,
    CopyLags,
    NewLeader,
    FlippedBit,
    ReadErrors,
    LostDisk,
    Unplugged,
    FullDisk,
    SlowDisk,
    Death,
    Join,
    Drain,
    Undrain,
    Pause,
    Remove,
}

const KINDS: &[(Fault, &str)] = &[
    (Fault::Crash, "crash"),
    (Fault::Nap, "nap"),
    (Fault::LongSleep, "long sleep"),
    (Fault::Partition, "partition"),
    (Fault::OneWayCut, "one-way cut"),
    (Fault::Loss, "lossy network"),
    (Fault::Duplicates, "late duplicates"),
    (Fault::SlowNet, "slow network"),
    (Fault::ClockJump, "clock jump"),
    (Fault::CopyLags, "ledger copy lags"),
    (Fault::NewLeader, "leader deposed"),
    (Fault::FlippedBit, "flipped bit"),
    (Fault::ReadErrors, "read errors"),
    (Fault::LostDisk, "lost disk"),
    (Fault::Unplugged, "unplugged disk"),
    (Fault::FullDisk, "full disk"),
    (Fault::SlowDisk, "slow disk"),
    (Fault::Death, "death"),
    (Fault::Join, "join"),
    (Fault::Drain, "drain"),
    (Fault::Undrain, "drain cancelled"),
    (Fault::Pause, "pause"),
    (Fault::Remove, "removal"),
];

/// How long admins try to put everything right once all has healed.
const ADMIN_PATIENCE_US: u64 = 300 * SECOND;

/// In every fourth run shards go to and fro, copies of the ledger lag, and so many of a thousand messages come again late:
/// what one order meant then is long past.
const UNRULY_DUPLICATES_PER_MILLE: u64 = 250;

/// Injects faults until `until_us`.
pub(crate) async fn inject(sim: Sim, until_us: u64) {
    let (bag, mean_us) = sim.with(|world| {
        let unruly = world.rng.chance(250);
        if unruly {
            world.net.usual_duplicates_per_mille = UNRULY_DUPLICATES_PER_MILLE;
            world.net.duplicates_per_mille = UNRULY_DUPLICATES_PER_MILLE;
        }
        let mut bag = Vec::new();
        for (fault, name) in KINDS {
            let weight = match fault {
                _ if !unruly => world.rng.pick(&[0, 1, 1, 2, 5]).unwrap_or(1),
                Fault::CopyLags | Fault::Drain | Fault::Undrain | Fault::ReadErrors | Fault::FlippedBit => 8,
                Fault::FullDisk | Fault::SlowDisk | Fault::NewLeader => 3,
                _ => world.rng.pick(&[0, 0, 1]).unwrap_or(0),
            };
            bag.extend(std::iter::repeat_n((*fault, *name), weight));
        }
        (bag, world.rng.range(SECOND / 2, 8 * SECOND))
    });
    while !bag.is_empty() {
        let pause = sim.with(|world| world.rng.range(100 * MS, 2 * mean_us));
        sim.sleep(Owner::World, pause).await;
        if sim.with(|world| world.now_us) >= until_us {
            return;
        }
        let Some((fault, name)) = sim.with(|world| world.rng.pick(&bag)) else { return };
        if let Some(agent) = strike(&sim, fault).await {
            sim.with(|world| {
                world.count_fault(name);
                world.note(Some(agent), "fault", 0, || name.to_owned());
            });
        }
    }
}

/// An agent that is still there, at random.
fn anyone(sim: &Sim) -> Option<usize> {
    sim.with(|world| {
        let there: Vec<usize> = (0..world.agents.len()).filter(|agent| !world.agents[*agent].gone).collect();
        world.rng.pick(&there)
    })
}

/// Has a fault happen; the agent it befell, if it could.
async fn strike(sim: &Sim, fault: Fault) -> Option<usize> {
    let agent = anyone(sim)?;
    let absent_us = ABSENT_AFTER_S * SECOND;
    match fault {
        Fault::Crash => crash_for(sim, agent, 200 * MS, absent_us * 2),
        Fault::Nap => sleep_for(sim, agent, 500 * MS, absent_us),
        Fault::LongSleep => sleep_for(sim, agent, absent_us, ORPHAN_GRACE_MS * MS * 2),
        Fault::Partition => {
            partition(sim);
            Some(agent)
        }
        Fault::OneWayCut => {
            let other = anyone(sim)?;
            sim.with(|world| world.net.set_cut(agent, other, true));
            later(sim, SECOND, 30 * SECOND, move |world| world.net.set_cut(agent, other, false));
            Some(agent)
        }
        Fault::Loss => {
            let was = sim.with(|world| std::mem::replace(&mut world.net.loss_per_mille, 200));
            later(sim, SECOND, 20 * SECOND, move |world| world.net.loss_per_mille = was.min(20));
            Some(agent)
        }
        Fault::Duplicates => {
            sim.with(|world| world.net.duplicates_per_mille = 300);
            later(sim, SECOND, 30 * SECOND, |world| {
                world.net.duplicates_per_mille = world.net.usual_duplicates_per_mille;
            });
            Some(agent)
        }
        Fault::SlowNet => {
            sim.with(|world| world.net.slowness = 40);
            later(sim, SECOND, 20 * SECOND, |world| world.net.slowness = 1);
            Some(agent)
        }
        Fault::ClockJump => {
            jump(sim, agent);
            Some(agent)
        }
        Fault::CopyLags => {
            sim.with(|world| {
                let for_us = world.rng.range(SECOND, 60 * SECOND);
                world.agents[agent].lags_until_us = world.now_us + for_us;
            });
            Some(agent)
        }
        Fault::NewLeader => {
            sim.with(|world| {
                let now = world.log.leader;
                world.elect(now);
            });
            Some(agent)
        }
        Fault::FlippedBit => flip(sim, agent),
        Fault::LostDisk => lose_disk(sim, agent),
        Fault::ReadErrors | Fault::Unplugged | Fault::FullDisk | Fault::SlowDisk => disk_trouble(sim, agent, fault),
        Fault::Death => die(sim, agent),
        Fault::Join => join(sim).await,
        Fault::Drain => set_state(sim, agent, AgentState::Draining).await,
        Fault::Undrain => set_state(sim, agent, AgentState::Active).await,
        Fault::Pause => set_state(sim, agent, AgentState::Paused).await,
        Fault::Remove => remove_emptied(sim).await,
    }
}

/// Has the fault undone after a while, unless everything heals first.
fn later(sim: &Sim, from_us: u64, to_us: u64, undo: impl FnOnce(&mut World) + 'static) {
    sim.with(|world| {
        let after = world.rng.range(from_us, to_us);
        world.at(after, move |sim| {
            sim.with(|world| {
                if !world.healed {
                    undo(world);
                }
            });
        });
    });
}

fn crash_for(sim: &Sim, agent: usize, from_us: u64, to_us: u64) -> Option<usize> {
    if !sim.with(|world| world.agents[agent].up) {
        return None;
    }
    crash(sim, agent);
    let after = sim.with(|world| world.rng.range(from_us, to_us));
    sim.at(after, move |sim| revive(sim, agent));
    Some(agent)
}

/// An agent's process and power go.
pub(crate) fn crash(sim: &Sim, agent: usize) {
    let tasks = sim.with(|world| {
        let one = &mut world.agents[agent];
        one.up = false;
        one.run += 1;
        if one.asleep {
            one.asleep = false;
            one.slept_us += world.now_us - one.asleep_since_us;
        }
        one.disk.crash(&mut world.rng);
        one.forget();
        let kept: Vec<ShardKey> = one.disk.keys().collect();
        let now_ms = world.ledger_ms();
        kept.into_iter().for_each(|key| world.atlas.kept(agent, key, now_ms));
        let one = &mut world.agents[agent];
        one.applied = one.applied.saturating_sub(world.rng.below(4));
        world.note(Some(agent), "crashes", 0, String::new);
        checkers::after_crash(world, agent);
        world.take_tasks(agent)
    });
    drop(tasks);
}

/// A crashed agent starts again.
pub(crate) fn revive(sim: &Sim, agent: usize) {
    let starts = sim.with(|world| {
        let one = &mut world.agents[agent];
        let starts = !one.up && !one.gone;
        one.up |= starts;
        starts
    });
    if starts {
        sim.with(|world| world.note(Some(agent), "starts", 0, String::new));
        start(sim, agent);
    }
}

fn sleep_for(sim: &Sim, agent: usize, from_us: u64, to_us: u64) -> Option<usize> {
    sim.with(|world| {
        if !world.runs(agent) {
            return None;
        }
        world.agents[agent].asleep = true;
        world.agents[agent].asleep_since_us = world.now_us;
        let after = world.rng.range(from_us, to_us);
        let run = world.agents[agent].run;
        world.at(after, move |sim| {
            if sim.with(|world| world.agents[agent].run == run) {
                wake(sim, agent);
            }
        });
        Some(agent)
    })
}

/// A sleeping agent wakes: what was to happen happens, and messages that waited come.
pub(crate) fn wake(sim: &Sim, agent: usize) {
    let waiting = sim.with(|world| {
        if !world.agents[agent].asleep {
            return Vec::new();
        }
        let now_us = world.now_us;
        let one = &mut world.agents[agent];
        one.asleep = false;
        one.slept_us += now_us - one.asleep_since_us;
        let waiting = std::mem::take(&mut one.on_wake);
        if world.rng.chance(500) {
            let now = world.steady(agent);
            world.agents[agent].presence.begin_anew(now);
        }
        world.note(Some(agent), "wakes", 0, String::new);
        waiting
    });
    waiting.into_iter().for_each(|action| action(sim));
}

fn partition(sim: &Sim) {
    sim.with(|world| {
        let sides = world.rng.next();
        let side = |agent: usize| sides >> agent & 1;
        let mut cuts = Vec::new();
        for from in 0..AGENTS_LIMIT {
            for to in 0..AGENTS_LIMIT {
                if side(from) != side(to) && !world.net.is_cut(from, to) {
                    world.net.set_cut(from, to, true);
                    cuts.push((from, to));
                }
            }
        }
        let after = world.rng.range(SECOND, 60 * SECOND);
        world.at(after, move |sim| {
            sim.with(|world| cuts.into_iter().for_each(|(from, to)| world.net.set_cut(from, to, false)));
        });
    });
}

fn jump(sim: &Sim, agent: usize) {
    sim.with(|world| {
        let reach_ms = world.rng.pick(&[1_000, 60_000, 3_600_000, 86_400_000]).unwrap_or(1_000);
        let by = i64::try_from(world.rng.below(2 * reach_ms)).unwrap_or(0) - i64::try_from(reach_ms).unwrap_or(0);
        // Now and then all leap together: what no majority of clocks can tell from time that has passed.
        let together = by % 4 == 0;
        for (number, one) in world.agents.iter_mut().enumerate() {
            one.wall_offset_ms += if together || number == agent { by } else { 0 };
        }
    });
}

fn flip(sim: &Sim, agent: usize) -> Option<usize> {
    sim.with(|world| {
        let sound = world.agents[agent].disk.iter().filter(|(_, shard)| shard.durable && !shard.damaged);
        let keys: Vec<ShardKey> = sound.map(|(key, _)| key).collect();
        let key = world.rng.pick(&keys)?;
        if !world.may_harm(agent, &[key]) {
            return None;
        }
        world.harm(agent, &[key]);
        world.agents[agent].disk.damage(key);
        world.note(Some(agent), "flips", shard_number(key), || shard(key));
        Some(agent)
    })
}

/// What a disk has, and what the ledger believes it has.
fn all_on(world: &World, agent: usize) -> Vec<ShardKey> {
    let counted = shards_of(&world.log.latest(), agent).unwrap_or_default();
    counted.into_iter().map(|(key, _)| key).chain(world.agents[agent].disk.keys()).collect()
}

fn lose_disk(sim: &Sim, agent: usize) -> Option<usize> {
    sim.with(|world| {
        let keys = all_on(world, agent);
        if keys.is_empty() || !world.may_harm(agent, &keys) {
            return None;
        }
        world.harm(agent, &keys);
        world.agents[agent].disk.wipe();
        Some(agent)
    })
}

fn disk_trouble(sim: &Sim, agent: usize, fault: Fault) -> Option<usize> {
    sim.with(|world| {
        let disk = &mut world.agents[agent].disk;
        match fault {
            Fault::ReadErrors => disk.read_faults_per_mille = 500,
            Fault::Unplugged => disk.unplugged = true,
            Fault::FullDisk => disk.owner_bytes = disk.disk_bytes,
            _ => disk.slowness = 50,
        }
    });
    later(sim, SECOND, 40 * SECOND, move |world| {
        let disk = &mut world.agents[agent].disk;
        match fault {
            Fault::ReadErrors => disk.read_faults_per_mille = 0,
            Fault::Unplugged => disk.unplugged = false,
            Fault::FullDisk => disk.owner_bytes = 0,
            _ => disk.slowness = 1,
        }
    });
    Some(agent)
}

/// A computer is gone for good; somebody strikes it off later.
fn die(sim: &Sim, agent: usize) -> Option<usize> {
    let dies = sim.with(|world| {
        let others = world.agents.iter().filter(|other| !other.gone && other.id != agent_id(agent));
        let (stores, mounts) = others.fold((0, 0), |(stores, mounts), other| {
            (stores + usize::from(other.roles.store), mounts + usize::from(other.roles.mount && other.roles.vote))
        });
        let alive = world.log.voters.iter().filter(|voter| **voter != agent && !world.agents[**voter].gone).count();
        let keys = all_on(world, agent);
        if stores < 2 || mounts < 1 || alive * 2 <= world.log.voters.len() || !world.may_harm(agent, &keys) {
            return false;
        }
        world.harm(agent, &keys);
        true
    });
    if !dies {
        return None;
    }
    crash(sim, agent);
    sim.with(|world| {
        world.agents[agent].gone = true;
        world.agents[agent].disk.wipe();
    });
    let here = sim.clone();
    sim.spawn(Owner::World, async move {
        let pause = here.with(|world| world.rng.range(SECOND, 60 * SECOND));
        here.sleep(Owner::World, pause).await;
        bury(&here, agent).await;
    });
    Some(agent)
}

/// Strikes off an agent that is gone, as soon as there is a quorum for it.
pub(crate) async fn bury(sim: &Sim, agent: usize) {
    let command = Command::RemoveAgent { agent: agent_id(agent), force: true };
    while sim.with(|world| is_member(world, agent)) {
        administer(sim, command.clone()).await;
        sim.sleep(Owner::World, SECOND).await;
    }
}

pub(crate) fn is_member(world: &World, agent: usize) -> bool {
    query::agent(&world.log.latest(), agent_id(agent)).is_ok_and(|member| member.is_some())
}

/// Has a command carried out at some mount point that is up. The caller is the world, so the work is done by a task of
/// that agent; if it crashes meanwhile there is no answer.
pub(crate) async fn administer(sim: &Sim, command: Command) -> Option<Outcome> {
    let at = sim.with(|world| {
        let can = |agent: &usize| world.runs(*agent) && world.agents[*agent].roles.mount;
        let can: Vec<usize> = (0..world.agents.len()).filter(can).collect();
        world.rng.pick(&can)
    })?;
    let slot: crate::exec::Slot<Option<Outcome>> = crate::exec::Slot::default();
    let (here, answer) = (sim.clone(), slot.clone());
    sim.spawn_on(at, async move {
        let told = submit(&here, at, command).await;
        answer.fill(told.ok().and_then(|(_, told)| told.ok()));
    });
    sim.fill_later(Owner::World, 10 * SECOND, slot.clone(), None);
    slot.wait().await
}

async fn join(sim: &Sim) -> Option<usize> {
    let (agent, record) = sim.with(|world| {
        let agent = world.agents.len();
        if agent >= AGENTS_LIMIT {
            return None;
        }
        let roles = new_roles(&mut world.rng, agent);
        let disk = new_disk(&mut world.rng);
        let mut one = Agent::new(agent, roles, disk);
        one.up = false;
        one.wall_offset_ms = i64::try_from(world.rng.below(7_200_000)).unwrap_or(0) - 3_600_000;
        one.gone = true;
        world.agents.push(one);
        Some((agent, agent_record(agent, roles)))
    })?;
    administer(sim, Command::RequestJoin { agent: record }).await?;
    administer(sim, Command::ApproveJoin { agent: agent_id(agent) }).await;
    sim.with(|world| world.agents[agent].gone = !is_member(world, agent));
    revive(sim, agent);
    Some(agent)
}

async fn set_state(sim: &Sim, agent: usize, state: AgentState) -> Option<usize> {
    let sensible = sim.with(|world| {
        let members = query::agents(&world.log.latest()).unwrap_or_default();
        let active = members
            .iter()
            .filter(|member| member.roles.store && member.state == AgentState::Active && member.id != agent_id(agent));
        let now = members.iter().find(|member| member.id == agent_id(agent)).map(|member| member.state);
        now.is_some_and(|now| now != state) && active.count() >= 1
    });
    if !sensible {
        return None;
    }
    administer(sim, Command::SetAgentState { agent: agent_id(agent), state }).await.map(|_| agent)
}

/// Strikes off an agent that has been emptied.
pub(crate) async fn remove_emptied(sim: &Sim) -> Option<usize> {
    let (agent, position) = sim.with(|world| {
        let view = world.log.latest();
        let members = query::agents(&view).unwrap_or_default();
        let there = |id| !world.agents[agent_number(id)].gone;
        let mounts =
            members.iter().filter(|member| member.roles.mount && member.roles.vote && there(member.id)).count();
        let empty = |id| query::agent_usage(&view, id).is_ok_and(|usage| usage.shards == 0);
        let moving = query::moves(&view).unwrap_or_default();
        let found = members.iter().find(|member| {
            member.state == AgentState::Draining
                && empty(member.id)
                && moving.iter().all(|one| one.what.to != member.id)
                && (mounts > 1 || !member.roles.mount)
                && !world.log.voters.contains(&agent_number(member.id))
        })?;
        Some((agent_number(found.id), world.log.len()))
    })?;
    let certificate =
        DrainCertificate { agent: agent_id(agent), position, issued_ms: 0, signer: agent_id(0), signature: vec![1] };
    administer(sim, Command::PutCertificate { certificate }).await?;
    administer(sim, Command::RemoveAgent { agent: agent_id(agent), force: false }).await?;
    crash(sim, agent);
    sim.with(|world| {
        world.agents[agent].gone = true;
        world.agents[agent].disk.wipe();
    });
    Some(agent)
}

/// Everything heals: cables, disks, computers that are not gone for good; admins let everyone take part again, but
/// some that are to be emptied.
pub(crate) async fn heal(sim: &Sim) {
    let agents = sim.with(|world| {
        world.healed = true;
        world.net.heal();
        world.forget_limbo();
        for agent in &mut world.agents {
            agent.lags_until_us = 0;
            let disk = &mut agent.disk;
            (disk.unplugged, disk.owner_bytes, disk.read_faults_per_mille, disk.slowness) = (false, 0, 0, 1);
            disk.cap_bytes = 800 * MIB;
        }
        world.note(None, "heals", 0, String::new);
        (0..world.agents.len()).filter(|agent| !world.agents[*agent].gone).collect::<Vec<_>>()
    });
    for agent in agents {
        wake(sim, agent);
        revive(sim, agent);
    }
    sim.sleep(Owner::World, 5 * SECOND).await;
    let until = sim.with(|world| world.now_us) + ADMIN_PATIENCE_US;
    while sim.with(|world| world.now_us < until) && put_right(sim).await {
        sim.sleep(Owner::World, SECOND).await;
    }
}

/// What an admin does who finds an agent that is gone still a member, or one that takes no part for no reason. A command
/// from before may come late, so this is looked at again. True if there was something to do.
pub(crate) async fn put_right(sim: &Sim) -> bool {
    let wrong = sim.with(|world| {
        let members = query::agents(&world.log.latest()).unwrap_or_default();
        let gone = members.iter().find(|member| world.agents[agent_number(member.id)].gone);
        let active = members.iter().any(|member| member.roles.store && member.state == AgentState::Active);
        let idle = members.iter().find(|member| {
            member.state == AgentState::Paused
                || (member.state == AgentState::Draining
                    && (!stays_drained(member.id) || (!active && member.roles.store)))
        });
        gone.map(|member| Command::RemoveAgent { agent: member.id, force: true })
            .or_else(|| idle.map(|member| Command::SetAgentState { agent: member.id, state: AgentState::Active }))
    });
    let Some(command) = wrong else { return false };
    administer(sim, command).await;
    true
}

/// Every second agent that is being emptied when all heals stays so.
fn stays_drained(agent: dci_proto::AgentId) -> bool {
    agent_number(agent) % 2 == 1
}

/// Whether an agent knows of the pool at all; used when one starts.
pub(crate) fn knows_pool(sim: &Sim, agent: usize) -> bool {
    look(sim, agent, |view| query::pool(view)).flatten().is_some()
}
