//! 9. No clock orders or deletes: the same log under other clocks comes to the same ledger, but for the times in it.

use shoal_ledger::{Batch, Command, KvError, KvRead, MemoryKv, Rejection, Submission, SurplusShard, apply, query};

use crate::rng::mix;
use crate::world::World;

const NAME: &str = "no-clock-orders";

/// Applies the log again, under the same clocks and under clocks that stand still or leap about.
pub(crate) fn check(world: &mut World) {
    let found = compare(world);
    if let Err(what) = found {
        world.fail(NAME, what);
    }
}

/// A clock by its name: the time it stamps on a position that was stamped with another.
type OtherClock<'a> = (&'static str, &'a dyn Fn(u64, u64) -> u64);

fn compare(world: &World) -> Result<(), String> {
    let truth = facts(&world.log.latest())?;
    let leaping = |position: u64, time_ms: u64| time_ms / 2 + mix(position) % 10_000_000;
    let clocks: [OtherClock<'_>; 2] = [("standing", &|_, _| 1), ("leaping", &leaping)];
    let late =
        |one: &Submission| world.log.answers.get(&one.id).is_some_and(|(_, answer)| *answer == Err(Rejection::TooLate));
    let mut same = MemoryKv::default();
    let mut others = [MemoryKv::default(), MemoryKv::default()];
    for (position, batch) in (1..).zip(world.log.batches()) {
        for (copy, (_, stamp)) in others.iter_mut().zip(&clocks) {
            let submissions =
                batch.submissions.iter().map(|one| translated(one, late(one), &same, copy)).collect::<Result<_, _>>();
            let submissions = submissions.map_err(|error| error.to_string())?;
            let batch = Batch { time_ms: stamp(position, batch.time_ms), submissions };
            apply(copy, position, &batch).map_err(|error| error.to_string())?;
        }
        apply(&mut same, position, batch).map_err(|error| error.to_string())?;
    }
    shoal_ledger::validate(&same)?;
    for (copy, clock) in [&same, &others[0], &others[1]].into_iter().zip(["the same", clocks[0].0, clocks[1].0]) {
        if facts(copy)? != truth {
            return Err(format!("under {clock} clocks the log comes to another ledger"));
        }
    }
    Ok(())
}

/// A command as it would have been under other clocks. A surplus shard is named by when it became so: under another clock by another time, but the same one.
fn translated(one: &Submission, late: bool, same: &MemoryKv, copy: &MemoryKv) -> Result<Submission, KvError> {
    let shards = match &one.command {
        // How old a command may be is measured by the ledger's time; what came of it is taken as it was.
        Command::Fresh { .. } if late => return Ok(Submission { id: one.id, command: Command::Tick }),
        Command::Fresh { command, .. } => return Ok(Submission { id: one.id, command: (**command).clone() }),
        Command::ForgetSurplus { shards } => shards,
        _ => return Ok(one.clone()),
    };
    let (there, here) = (query::surplus(same, usize::MAX)?, query::surplus(copy, usize::MAX)?);
    let translate = |shard: &SurplusShard| {
        let known = there.contains(shard);
        let own = here.iter().find(|other| (other.key, other.agent) == (shard.key, shard.agent));
        let since_ms = own.filter(|_| known).map_or(u64::MAX, |own| own.since_ms);
        SurplusShard { since_ms, ..*shard }
    };
    let command = Command::ForgetSurplus { shards: shards.iter().map(translate).collect() };
    Ok(Submission { id: one.id, command })
}

/// Everything that is not a time.
fn facts(view: &dyn KvRead) -> Result<Vec<String>, String> {
    let text = |error: KvError| error.to_string();
    let mut facts = Vec::new();
    for volume in query::volumes(view).map_err(text)? {
        facts.push(format!("{} {} {}", volume.name, volume.files, volume.bytes));
        query::children(view, volume.root, None, &mut |node| {
            facts.push(format!("{} {} {} {}", node.name, node.inode, node.version, node.size_bytes));
            true
        })
        .map_err(text)?;
    }
    query::stripes(view, None, &mut |stripe, record| {
        facts.push(format!("{stripe} {record:?}"));
        true
    })
    .map_err(text)?;
    facts.extend(query::moves(view).map_err(text)?.iter().map(|one| format!("{one:?}")));
    let surplus = query::surplus(view, usize::MAX).map_err(text)?;
    let mut surplus: Vec<String> = surplus.iter().map(|one| format!("surplus {} {}", one.key, one.agent)).collect();
    let garbage = query::garbage(view, usize::MAX).map_err(text)?;
    surplus.extend(garbage.iter().map(|one| format!("garbage {}", one.stripe)));
    surplus.sort();
    facts.extend(surplus);
    for member in query::agents(view).map_err(text)? {
        let usage = query::agent_usage(view, member.id).map_err(text)?;
        facts.push(format!("{} {:?} {usage:?}", member.name, member.state));
    }
    Ok(facts)
}
