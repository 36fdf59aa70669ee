//! Clients at mount points: they write, overwrite, delete, rename and read files, and note what they were told.

use shoal_ledger::{
    ChunkRef, Command, FileContent, Guard, NewStripe, Node, NodeContent, NodeKind, NodePath, Outcome, Rejection,
    StripeRecord, query,
};

use crate::bugs::Bug;
use crate::checkers::{names_linearizable, reads_true};
use crate::exec::{MS, SECOND};
use crate::holder::ORPHAN_GRACE_MS;
use crate::ledger::{barrier, look, submit};
use crate::litter::{Sent, give_up};
use crate::stripes::{self, bytes_of, content_of};
use crate::world::{Sim, World};

/// Names clients use; few, so that they meet.
const NAMES: &[&str] = &["a", "b", "c", "d", "e", "f"];
/// How often a read that met a change, or an agent that was away, is tried.
const READ_TRIES: usize = 3;

/// What came of something a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Done,
    Refused,
    Unavailable,
    Unknown,
}

/// Works at a mount point for as long as its agent runs.
pub(crate) async fn work(sim: Sim, me: usize) {
    loop {
        let pause = sim.with(|world| world.rng.range(100 * MS, 5 * SECOND));
        sim.sleep_on(me, pause).await;
        if sim.with(|world| world.clients_done) {
            return;
        }
        let (kind, path, other) = sim.with(|world| (world.rng.below(100), pick(world), pick(world)));
        let (what, told) = match kind {
            0..45 => ("write", write(&sim, me, path).await),
            45..75 => ("read", read(&sim, me, &path).await),
            75..87 => ("delete", change(&sim, me, Command::Remove { path, guard: Guard::default() }).await),
            _ => {
                let command = Command::Rename { from: path, to: other, overwrite: true, guard: Guard::default() };
                ("rename", change(&sim, me, command).await)
            }
        };
        sim.with(|world| {
            world.note(Some(me), what, told as u64, || format!("{told:?}"));
            *world.counters.operations.entry(outcome_name(what, told)).or_default() += 1;
        });
    }
}

fn outcome_name(what: &'static str, told: Told) -> &'static str {
    match (what, told) {
        ("write", Told::Done) => "written",
        ("read", Told::Done) => "read",
        (_, Told::Done) => "changed",
        (_, Told::Refused) => "refused",
        (_, Told::Unavailable) => "unavailable",
        (_, Told::Unknown) => "not known",
    }
}

fn pick(world: &mut World) -> NodePath {
    let name = world.rng.pick(NAMES).unwrap_or("a");
    NodePath { volume: dci_proto::VolumeId(1), names: vec![name.to_owned()] }
}

async fn change(sim: &Sim, me: usize, command: Command) -> Told {
    let before = sim.with(|world| world.log.len());
    match submit(sim, me, command).await {
        Ok((position, answer)) => {
            sim.with(|world| names_linearizable::change(world, before, position));
            if answer.is_ok() { Told::Done } else { Told::Refused }
        }
        Err(_) => Told::Unknown,
    }
}

/// Writes a file of one or two chunks, some of them contents the pool may have already.
async fn write(sim: &Sim, me: usize, path: NodePath) -> Told {
    if barrier(sim, me).await.is_err() {
        return Told::Unavailable;
    }
    let survive = look(sim, me, |view| query::pool(view)).flatten().map_or(0, |pool| pool.survive);
    let values = sim.with(values);
    let (flight, run) = sim.with(|world| (world.fresh(), world.agents[me].run));
    sim.with(|world| world.atlas.begin_flight(flight, me, run));
    let mut told = Told::Unavailable;
    let mut sent = Sent::new();
    for anew in [false, true] {
        let begun_ms = look(sim, me, |view| query::time_ms(view)).unwrap_or(0);
        let Some(chunks) = store(sim, me, flight, &values, survive, anew, &mut sent).await else { break };
        let size_bytes = values.iter().map(|value| u64::from(bytes_of(*value))).sum();
        let commit = Command::CommitFile {
            path: path.clone(),
            guard: Guard::default(),
            content: FileContent::Chunks(chunks),
            size_bytes,
            modified_ms: None,
            sha1: None,
            media_type: None,
        };
        let before = sim.with(|world| world.log.len());
        told = match submit(sim, me, fresh(begun_ms, commit)).await {
            Ok((position, answer)) => {
                sim.with(|world| names_linearizable::change(world, before, position));
                match answer {
                    Err(Rejection::TooLate | Rejection::MissingContent(_) | Rejection::HoldersGone(_)) if !anew => {
                        give_up(sim, me, &mut sent);
                        continue;
                    }
                    Ok(Outcome::Node { .. }) => Told::Done,
                    _ => Told::Refused,
                }
            }
            Err(_) => Told::Unknown,
        };
        break;
    }
    if matches!(told, Told::Refused | Told::Unavailable) {
        give_up(sim, me, &mut sent);
    }
    sim.with(|world| {
        let now_us = world.now_us;
        world.atlas.end_flight(flight, now_us, told != Told::Unknown);
    });
    told
}

/// A command that names shards sent out since `begun_ms`: refused where their holders may have dropped them by now.
pub(crate) fn fresh(begun_ms: u64, command: Command) -> Command {
    Command::Fresh { begun_ms, within_ms: ORPHAN_GRACE_MS / 2, command: Box::new(command) }
}

fn values(world: &mut World) -> Vec<u64> {
    let known = world.record.values.clone();
    let again = world.rng.chance(200);
    let first = match world.rng.pick(&known) {
        Some(value) if again => value,
        _ => world.fresh(),
    };
    world.record.values.push(first);
    // Only a full chunk has another after it.
    if first % 4 == 0 && world.rng.chance(500) { vec![first, world.fresh()] } else { vec![first] }
}

/// Gets all chunks of a file durable, or finds them in the pool. `anew`: even if the pool seems to have them.
async fn store(
    sim: &Sim,
    me: usize,
    flight: u64,
    values: &[u64],
    survive: u8,
    anew: bool,
    sent: &mut Sent,
) -> Option<Vec<ChunkRef>> {
    let mut chunks = Vec::new();
    for value in values {
        let content = content_of(*value);
        let known = look(sim, me, |view| query::content(view, content)).flatten().filter(|_| !anew);
        let mut replaces = None;
        if let Some((stripe, record)) = known {
            let fit = sim.with(|world| stripes::is_fit(world, me, &record, survive));
            if fit && stripes::fetch(sim, me, stripe, &record, None).await.is_some() {
                chunks.push(ChunkRef { content, plain_bytes: bytes_of(*value), new_stripe: None });
                continue;
            }
            replaces = Some(stripe);
        }
        let new: NewStripe = stripes::write(sim, me, flight, content, survive, replaces, sent).await?;
        chunks.push(ChunkRef { content, plain_bytes: bytes_of(*value), new_stripe: Some(new) });
    }
    Some(chunks)
}

async fn read(sim: &Sim, me: usize, path: &NodePath) -> Told {
    let acknowledged = sim.with(|world| world.record.acknowledged);
    let stale = sim.with(|world| world.planted(Bug::ReadWithoutReadPoint));
    for _ in 0..READ_TRIES {
        if !stale && barrier(sim, me).await.is_err() {
            return Told::Unavailable;
        }
        sim.with(|world| {
            let seen = world.agents[me].applied;
            names_linearizable::read(world, acknowledged, seen);
        });
        let Some(node) = look(sim, me, |view| query::node(view, path)).flatten() else { return Told::Refused };
        if read_node(sim, me, &node).await {
            return Told::Done;
        }
    }
    Told::Unavailable
}

/// Reads a version of a file whole; false if that cannot be done now.
async fn read_node(sim: &Sim, me: usize, node: &Node) -> bool {
    let Some(chunks) = look(sim, me, |view| chunks_of(view, node)) else { return false };
    let Some(chunks) = chunks else { return false };
    let mut read = Vec::new();
    for (stripe, record) in chunks {
        let Some(value) = stripes::fetch(sim, me, stripe, &record, None).await else { return false };
        read.push(value);
    }
    sim.with(|world| reads_true::check(world, node.inode, node.version, &read));
    true
}

type Chunks = Vec<(dci_proto::StripeId, StripeRecord)>;

fn chunks_of(view: &dyn shoal_ledger::KvRead, node: &Node) -> Result<Option<Chunks>, shoal_ledger::KvError> {
    let Some(NodeContent::Chunks(list)) = &node.content else { return Ok(Some(Vec::new())) };
    let mut found = Vec::new();
    for (content, _) in query::chunks(view, *list, 0, u32::MAX)? {
        let Some(stripe) = query::content(view, content)? else { return Ok(None) };
        found.push(stripe);
    }
    Ok(Some(found))
}

/// Reads every file there is at a mount point; what cannot be read is named.
pub(crate) async fn read_everything(sim: &Sim, me: usize) -> Result<usize, String> {
    let mut tries = 0;
    while barrier(sim, me).await.is_err() {
        tries += 1;
        if tries == READ_TRIES {
            return Err("no read point could be taken".to_owned());
        }
    }
    let nodes = look(sim, me, |view| {
        let mut nodes = Vec::new();
        for volume in query::volumes(view)? {
            query::children(view, volume.root, None, &mut |node| {
                nodes.push(node);
                true
            })?;
        }
        Ok(nodes)
    });
    let files: Vec<Node> = nodes.unwrap_or_default().into_iter().filter(|node| node.kind == NodeKind::File).collect();
    for node in &files {
        if !read_node(sim, me, node).await {
            return Err(format!("{} cannot be read at agent {}", node.name, me + 1));
        }
    }
    Ok(files.len())
}
