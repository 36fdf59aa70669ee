//! One run: a pool is made, clients work while faults happen, everything heals and must come right.

use shoal_ledger::{AgentRecord, AgentRoles, AgentState, CarePolicy, Command, Submission, VolumePolicy};

use crate::agent::{ABSENT_AFTER_S, Agent};
use crate::bugs::Bug;
use crate::checkers::{self, convergence};
use crate::disk::Disk;
use crate::exec::{Owner, SECOND};
use crate::ledger::{ELECTION_TICK_US, command_id};
use crate::rng::Rng;
use crate::world::{Counters, Sim, Violation, World, agent_id};
use crate::{client, faults, holder, presence, scrub};

/// When all has healed, everything must have come right within this time.
pub(crate) const CONVERGENCE_LIMIT_US: u64 = 15 * 60 * SECOND;
/// Time between two looks whether it has.
const LOOK_EVERY_US: u64 = 5 * SECOND;

pub(crate) const MIB: u64 = 1024 * 1024;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed it came from.
    pub seed: u64,
    /// The same for the same history.
    pub hash: u64,
    /// How much happened.
    pub counters: Counters,
    /// What a checker found.
    pub violation: Option<Violation>,
    /// Virtual time that passed, in µs.
    pub virtual_us: u64,
    /// Virtual time it took to come right once all had healed, in µs.
    pub convergence_us: u64,
}

/// Runs a seed. `trace`: print a line for each event. A bug takes effect only with the feature `planted-bugs`.
#[must_use]
pub fn run(seed: u64, bug: Option<Bug>, trace: bool) -> Report {
    let sim = Sim::new(World::new(seed, bug, trace));
    sim.with(make_pool);
    let agents = sim.with(|world| world.agents.len());
    (0..agents).for_each(|agent| start(&sim, agent));
    sim.with(|world| world.elect(None));
    let converged = std::rc::Rc::new(std::cell::Cell::new(0));
    let (here, told) = (sim.clone(), converged.clone());
    sim.spawn(Owner::World, async move { told.set(direct(&here).await) });
    let here = sim.clone();
    sim.spawn(Owner::World, async move {
        loop {
            here.sleep(Owner::World, ELECTION_TICK_US).await;
            here.with(World::election_tick);
        }
    });
    sim.run();
    // Tasks hold the world and the world holds tasks: they are let go of one after the other.
    let (tasks, queue) = sim.with(|world| (std::mem::take(&mut world.tasks), std::mem::take(&mut world.queue)));
    drop((tasks, queue));
    sim.with(|world| Report {
        seed,
        hash: world.trace.hash(),
        counters: world.counters.clone(),
        violation: world.violation.clone(),
        virtual_us: world.now_us,
        convergence_us: converged.get(),
    })
}

/// The course of events; how long it took to come right in the end.
async fn direct(sim: &Sim) -> u64 {
    let until = sim.with(|world| world.rng.range(60, 240) * SECOND);
    faults::inject(sim.clone(), until).await;
    let healed = sim.with(|world| world.now_us);
    faults::heal(sim).await;
    // Clients stop somewhat later, so that work goes on in a pool that is well.
    sim.sleep(Owner::World, 10 * SECOND).await;
    sim.with(|world| world.clients_done = true);
    loop {
        sim.sleep(Owner::World, LOOK_EVERY_US).await;
        let admin = faults::put_right(sim).await.then(|| "somebody is still to be struck off or let in".to_owned());
        let Some(missing) = admin.or_else(|| sim.with(|world| convergence::missing(world))) else { break };
        sim.with(|world| {
            if world.now_us - healed > CONVERGENCE_LIMIT_US {
                world.fail(
                    "convergence",
                    format!("{} minutes after all had healed: {missing}", CONVERGENCE_LIMIT_US / SECOND / 60),
                );
            }
        });
    }
    let took = sim.with(|world| world.now_us - healed);
    read_back(sim).await;
    sim.with(|world| {
        checkers::at_the_end(world);
        world.over = true;
    });
    took
}

/// Every file is read whole at every mount point.
async fn read_back(sim: &Sim) {
    let mounts = sim.with(|world| {
        let can = |agent: &usize| world.runs(*agent) && world.agents[*agent].roles.mount;
        (0..world.agents.len()).filter(can).collect::<Vec<_>>()
    });
    for agent in mounts {
        let slot = crate::exec::Slot::default();
        let (here, told) = (sim.clone(), slot.clone());
        sim.spawn_on(agent, async move { told.fill(client::read_everything(&here, agent).await) });
        match slot.wait().await {
            Ok(files) => {
                sim.with(|world| world.note(Some(agent), "read all", files as u64, || format!("{files} files")))
            }
            Err(what) => sim.with(|world| world.fail("acked-survives", what)),
        }
    }
}

/// Starts what an agent does while it runs.
pub(crate) fn start(sim: &Sim, agent: usize) {
    let (holds, stores, mounts) = sim.with(|world| {
        let one = &world.agents[agent];
        (one.holds_ledger(), one.roles.store, one.roles.mount)
    });
    let here = sim.clone();
    sim.spawn_on(agent, async move {
        if holds {
            // An agent that has just joined waits for its copy of the ledger.
            while !faults::knows_pool(&here, agent) {
                here.sleep_on(agent, SECOND).await;
            }
            let watching = here.clone();
            here.spawn_on(agent, presence::watch(watching, agent));
        }
        if mounts {
            here.spawn_on(agent, client::work(here.clone(), agent));
        }
        if stores {
            here.spawn_on(agent, holder::sweep(here.clone(), agent));
            here.spawn_on(agent, scrub::scrub(here.clone(), agent));
        }
    });
}

/// A pool of some agents and one volume, as its first entries make it.
fn make_pool(world: &mut World) {
    let count = world.rng.pick(&[1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 7, 7]).unwrap_or(5);
    for number in 0..count {
        let (roles, disk) = (new_roles(&mut world.rng, number), new_disk(&mut world.rng));
        let mut agent = Agent::new(number, roles, disk);
        let off_ms = world.rng.pick(&[0, 0, 5_000, 3_600_000, 40_000_000]).unwrap_or(0);
        agent.wall_offset_ms =
            i64::try_from(world.rng.below(2 * off_ms)).unwrap_or(0) - i64::try_from(off_ms).unwrap_or(0);
        world.agents.push(agent);
    }
    let survive = world.rng.pick(&[1, 1, 1, 2, 2, 2, 2, 3]).unwrap_or(2);
    let first = agent_record(0, world.agents[0].roles);
    let id = dci_proto::PoolId([1; 16]);
    let mut commands = vec![
        Command::CreatePool { id, name: "simulated".to_owned(), survive, first },
        Command::CreateVolume { name: "pool".to_owned(), policy: VolumePolicy::default() },
        Command::SetCarePolicy {
            policy: CarePolicy { absent_after_s: ABSENT_AFTER_S, trash_keep_s: 0, ..CarePolicy::default() },
        },
    ];
    for number in 1..count {
        let agent = agent_record(number, world.agents[number].roles);
        commands.extend([Command::RequestJoin { agent }, Command::ApproveJoin { agent: agent_id(number) }]);
    }
    let mut voters: Vec<usize> = (0..count).filter(|number| world.agents[*number].roles.vote).collect();
    voters.truncate(shoal_placement::voters::voters_wanted(voters.len(), survive));
    world.log.voters = voters.into_iter().collect();
    let submissions =
        commands.into_iter().map(|command| Submission { id: command_id(world), command }).collect::<Vec<_>>();
    world.commit(0, submissions);
    let position = world.log.len();
    world.agents.iter_mut().filter(|agent| agent.holds_ledger()).for_each(|agent| agent.applied = position);
}

/// What a computer does for the pool: most do everything.
pub(crate) fn new_roles(rng: &mut Rng, number: usize) -> AgentRoles {
    let all = AgentRoles { store: true, mount: true, vote: true };
    match rng.below(100) {
        _ if number == 0 => all,
        0..70 => all,
        70..85 => AgentRoles { mount: false, vote: false, ..all },
        85..92 => AgentRoles { mount: false, ..all },
        _ => AgentRoles { store: false, ..all },
    }
}

/// A disk and what is given of it: some little, some plenty.
pub(crate) fn new_disk(rng: &mut Rng) -> Disk {
    let cap = rng.pick(&[48, 100, 300, 600]).unwrap_or(300) * MIB;
    Disk::new(1024 * MIB, cap, 64 * MIB)
}

/// What an agent says of itself when it joins.
pub(crate) fn agent_record(number: usize, roles: AgentRoles) -> AgentRecord {
    AgentRecord {
        id: agent_id(number),
        name: format!("agent-{}", number + 1),
        control_addresses: Vec::new(),
        data_addresses: Vec::new(),
        roles,
        state: AgentState::Active,
        site: String::new(),
        capacity_bytes: 1024 * MIB,
        version: "simulated".to_owned(),
        joined_ms: 0,
    }
}
