//! Stripes: how contents are cut in tokens, got durable, and read back.

use std::collections::BTreeSet;

use dci_proto::{AgentId, ContentId, ShardHash, ShardKey, StripeId};
use shoal_care::COPIES_LIMIT_BYTES;
use shoal_ledger::{AgentState, CHUNK_BYTES, NewStripe, ShardPlace, StripeRecord, query};
use shoal_placement::{Candidate, Geometry, choose, geometry, read_order, small_file_geometry, spare};

use crate::bugs::Bug;
use crate::exec::{Channel, MS, SECOND};
use crate::ledger::stripe as name;
use crate::litter::{Sent, give_up};
use crate::rng::mix;
use crate::serve::{Reply, Request};
use crate::world::{Sim, World, agent_id, agent_number};

/// How long a writer waits for one agent to keep a shard.
const PUT_TIMEOUT_US: u64 = 2 * SECOND;
/// How long a reader waits for one agent to give a shard.
const GET_TIMEOUT_US: u64 = 700 * MS;
/// How often a chunk is cut anew because agents dropped out.
const RESEALS_LIMIT: usize = 8;

/// The content of a value that some client wrote.
pub(crate) fn content_of(value: u64) -> ContentId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&mix(value).to_be_bytes());
    id[24..].copy_from_slice(&value.to_be_bytes());
    ContentId(id)
}

/// The value of a content.
pub(crate) fn value_of(content: ContentId) -> u64 {
    content.0.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Bytes of a value; every fourth one fills a chunk.
pub(crate) fn bytes_of(value: u64) -> u32 {
    let spread = u32::try_from(mix(value) >> 40).unwrap_or(0);
    match value % 4 {
        0 => CHUNK_BYTES,
        1 => 1 + spread % COPIES_LIMIT_BYTES,
        _ => COPIES_LIMIT_BYTES + 1 + spread % (CHUNK_BYTES - COPIES_LIMIT_BYTES - 1),
    }
}

/// What a shard's bytes hash to: they follow from the content and how it is cut, whoever cuts it.
pub(crate) fn token(content: ContentId, k: u8, m: u8, index: u8) -> ShardHash {
    let seed = mix(value_of(content) ^ u64::from(k) << 48 ^ u64::from(m) << 40 ^ u64::from(index) << 32);
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&seed.to_be_bytes());
    hash[8..].copy_from_slice(&mix(seed).to_be_bytes());
    ShardHash(hash)
}

/// The members as an agent sees them, as takers and givers of shards.
pub(crate) fn candidates(world: &World, me: usize) -> Vec<Candidate> {
    let now = world.steady(me);
    // An agent without a ledger has the members' addresses from those that have one.
    let informed = world.agents[me].holds_ledger();
    let members = if informed { query::agents(&world.view(me)) } else { query::agents(&world.log.latest()) };
    let members = members.unwrap_or_default();
    let presence = &world.agents[me].presence;
    let holds = members.into_iter().filter(|member| member.roles.store);
    holds
        .filter_map(|member| {
            let local = member.id == agent_id(me);
            let room = match presence.of(member.id) {
                _ if local => Some(world.room(me)),
                Some(health) => health.room,
                None if informed => return None,
                None => None,
            };
            let room = room.unwrap_or_default();
            Some(Candidate {
                agent: member.id,
                local,
                site: member.site,
                free_bytes: if member.state == AgentState::Active { room.free_bytes } else { 0 },
                capacity_bytes: room.capacity_bytes,
                suspect: !local && informed && presence.avoided(now, member.id),
                standing: 100,
                latency_us: 0,
                in_flight: 0,
            })
        })
        .collect()
}

fn geometry_for(survive: u8, agents: usize, plain_bytes: u32) -> Geometry {
    if plain_bytes <= COPIES_LIMIT_BYTES { small_file_geometry(survive, agents) } else { geometry(survive, agents) }
}

struct Targets {
    geometry: Geometry,
    candidates: Vec<Candidate>,
}

/// Where a stripe could go now, as the drive decides it.
fn targets(world: &World, me: usize, survive: u8, bytes: u32, excluded: &BTreeSet<AgentId>) -> Option<Targets> {
    let mut found = candidates(world, me);
    found.retain(|candidate| candidate.free_bytes > 0 && !excluded.contains(&candidate.agent));
    loop {
        let well = found.iter().filter(|candidate| !candidate.suspect).count();
        let to_keep_parity = (usize::from(survive) + 1).min(found.len());
        let geometry = geometry_for(survive, well.max(to_keep_parity), bytes);
        let shard_bytes = u64::from(bytes.div_ceil(u32::from(geometry.k)));
        let before = found.len();
        found.retain(|candidate| candidate.free_bytes >= shard_bytes);
        if found.is_empty() {
            return None;
        }
        if found.len() == before {
            let least = usize::from(geometry.k) + usize::from(well > 1);
            return (before >= least).then_some(Targets { geometry, candidates: found });
        }
    }
}

/// How a stripe that holds a content already compares with one written now: as much parity, every shard on an agent
/// that is up.
pub(crate) fn is_fit(world: &World, me: usize, record: &StripeRecord, survive: u8) -> bool {
    let Some(targets) = targets(world, me, survive, record.plain_bytes, &BTreeSet::new()) else { return false };
    let up: BTreeSet<AgentId> =
        candidates(world, me).into_iter().filter(|candidate| !candidate.suspect).map(|one| one.agent).collect();
    record.m >= targets.geometry.m && record.shards.iter().all(|place| place.agent.is_some_and(|at| up.contains(&at)))
}

/// Gets a content durable in a new stripe; `None`: it cannot be now. Agents that take shards of it are in flight until
/// the caller ends that. What was sent for the stripe, or in vain, is added to `sent`.
pub(crate) async fn write(
    sim: &Sim,
    me: usize,
    flight: u64,
    content: ContentId,
    survive: u8,
    replaces: Option<StripeId>,
    sent: &mut Sent,
) -> Option<NewStripe> {
    let bytes = bytes_of(value_of(content));
    let mut excluded = BTreeSet::new();
    let mut now = sim.with(|world| targets(world, me, survive, bytes, &excluded))?;
    for _ in 0..RESEALS_LIMIT {
        let (id, places) = place(sim, me, flight, content, &now, &mut excluded, sent).await;
        let Geometry { k, m } = now.geometry;
        let durable = places.iter().flatten().count();
        let shards = (0u8..).zip(&places);
        let record = StripeRecord {
            content,
            codec: 1,
            k,
            m,
            plain_bytes: bytes,
            stored_bytes: bytes,
            shard_bytes: bytes.div_ceil(u32::from(k)),
            compression: 0,
            key_epoch: 1,
            shards: shards
                .map(|(index, agent)| ShardPlace { agent: *agent, hash: token(content, k, m, index) })
                .collect(),
        };
        let stripe = NewStripe { id, record, replaces };
        if durable == places.len() {
            return Some(stripe);
        }
        match sim.with(|world| targets(world, me, survive, bytes, &excluded)) {
            Some(next) if next.geometry.m >= m && next.geometry.k < k => {
                let mut in_vain: Sent = sent.extract_if(.., |(_, key)| key.stripe == id).collect();
                give_up(sim, me, &mut in_vain);
                now = next;
            }
            _ => {
                let up = sim.with(|world| candidates(world, me).iter().filter(|one| !one.suspect).count());
                return (durable >= usize::from(k) + usize::from(up > 1)).then_some(stripe);
            }
        }
    }
    None
}

/// Sends the shards of a stripe out, each to its own agent, with another for each that fails.
async fn place(
    sim: &Sim,
    me: usize,
    flight: u64,
    content: ContentId,
    targets: &Targets,
    excluded: &mut BTreeSet<AgentId>,
    sent: &mut Sent,
) -> (StripeId, Vec<Option<AgentId>>) {
    let Geometry { k, m } = targets.geometry;
    let shard_bytes = bytes_of(value_of(content)).div_ceil(u32::from(k));
    let (id, seed) = sim.with(|world| (stripe_id(world), world.rng.next()));
    let width = usize::from(k) + usize::from(m);
    let mut chosen = choose(&targets.candidates, width, u64::from(shard_bytes), seed, &[]);
    if sim.with(|world| world.planted(Bug::TwoShardsOneAgent)) && chosen.len() > 1 {
        chosen[1] = chosen[0];
    }
    let mut places = vec![None; width];
    let answers: Channel<(u8, AgentId, Option<Reply>)> = Channel::default();
    let mut send = |index: u8, agent: AgentId| {
        let (key, hash) = (ShardKey { stripe: id, index }, token(content, k, m, index));
        sent.push((agent, key));
        let to = agent_number(agent);
        sim.with(|world| world.atlas.fly(flight, to));
        let (sim, answers) = (sim.clone(), answers.clone());
        sim.clone().spawn_on(me, async move {
            let request = Request::Put { key, token: hash, expected: hash, bytes: shard_bytes };
            let reply = sim.call(me, to, request, PUT_TIMEOUT_US).await;
            answers.send((index, agent, reply.ok()));
        });
    };
    let mut used: BTreeSet<AgentId> = chosen.iter().copied().collect();
    let mut waiting = chosen.len();
    (0u8..).zip(&chosen).for_each(|(index, agent)| send(index, *agent));
    while waiting > 0 {
        let (index, agent, reply) = answers.receive().await;
        waiting -= 1;
        let count_suspect = reply.is_none() && sim.with(|world| world.planted(Bug::CountSuspect));
        if matches!(reply, Some(Reply::Done)) || count_suspect {
            places[usize::from(index)] = Some(agent);
            continue;
        }
        excluded.insert(agent);
        if reply.is_none() {
            sim.with(|world| world.missed(me, agent_number(agent)));
        }
        let avoid: Vec<AgentId> = used.iter().chain(excluded.iter()).copied().collect();
        if let Some(other) = spare(&targets.candidates, u64::from(shard_bytes), seed, &avoid) {
            used.insert(other);
            waiting += 1;
            send(index, other);
        }
    }
    let durable = places.iter().flatten().count() as u64;
    sim.with(|world| world.note(Some(me), "placed", durable, || format!("{} {k}+{m}, {durable} durable", name(id))));
    (id, places)
}

fn stripe_id(world: &mut World) -> StripeId {
    let number = world.fresh();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&world.rng.next().to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    StripeId(id)
}

/// Reads a stripe back: the value it holds, as far as `k` shards that match their hashes tell. `without`: this shard.
pub(crate) async fn fetch(
    sim: &Sim,
    me: usize,
    stripe: StripeId,
    record: &StripeRecord,
    without: Option<u8>,
) -> Option<u64> {
    let places: Vec<(u8, AgentId)> = (0u8..)
        .zip(&record.shards)
        .filter(|(index, _)| Some(*index) != without)
        .filter_map(|(index, place)| Some((index, place.agent?)))
        .collect();
    let order = sim.with(|world| read_order(&places, &candidates(world, me), record.k));
    let mut tokens: Vec<(u8, ShardHash)> = Vec::new();
    for index in order {
        let Some((_, holder)) = places.iter().find(|(at, _)| *at == index) else { continue };
        let (to, key) = (agent_number(*holder), ShardKey { stripe, index });
        match sim.call(me, to, Request::Get { key }, GET_TIMEOUT_US).await {
            Ok(Reply::Token(token)) => {
                if record.shards.get(usize::from(index)).is_some_and(|place| place.hash == token) {
                    tokens.push((index, token));
                }
            }
            Ok(_) => {}
            Err(_) => sim.with(|world| world.missed(me, to)),
        }
        if tokens.len() == usize::from(record.k) {
            return Some(decode(record, &tokens));
        }
    }
    None
}

/// What `k` shards give back: the content they were cut from, if they were all cut from one.
fn decode(record: &StripeRecord, tokens: &[(u8, ShardHash)]) -> u64 {
    let fits = |(index, hash): &(u8, ShardHash)| *hash == token(record.content, record.k, record.m, *index);
    if tokens.iter().all(fits) { value_of(record.content) } else { u64::MAX }
}
