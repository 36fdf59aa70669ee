//! The pool, its members, and the ways to become one.

use dci_proto::{AgentId, PoolId};

use super::state::State;
use super::{Step, bad, care, rights, uploads, volumes};
use crate::tables::{self, normalized};
use crate::{
    AgentRecord, AgentRoles, AgentState, FORMAT_VERSION, JoinRequest, Outcome, PoolRecord, Rejection, TicketRecord,
    query,
};

/// Members of a pool, at most.
pub const MEMBERS_LIMIT: usize = 4_096;
/// Tickets given out and not used, at most.
pub const TICKETS_LIMIT: usize = 1_024;
/// Agents that wait for an admin, at most: anyone on the network can ask.
pub const JOIN_REQUESTS_LIMIT: usize = 256;
/// A request to join is forgotten after this long: seven days.
pub const JOIN_REQUEST_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// Bytes of the name of a pool, an agent, a site or a version, at most.
const NAME_LIMIT_BYTES: usize = 128;
/// Addresses of each kind that an agent may name.
const ADDRESSES_LIMIT: usize = 64;

pub(super) fn create_pool(
    state: &mut State,
    id: PoolId,
    name: &str,
    survive: u8,
    first: &AgentRecord,
) -> Step<Outcome> {
    if state.has_pool()? {
        return Err(Rejection::Pool("there is a pool already".to_owned()).into());
    }
    check_name("the pool's name", name)?;
    volumes::check_survive(survive)?;
    check_record(first)?;
    let created_ms = state.now_ms();
    let pool = PoolRecord { id, name: name.to_owned(), format: FORMAT_VERSION, survive, created_ms };
    state.put(tables::POOL, &tables::POOL.key(&[]), &pool)?;
    admit(state, first, first.roles)
}

pub(super) fn create_ticket(state: &mut State, ticket: &TicketRecord) -> Step<Outcome> {
    state.check_room(tables::TICKETS, TICKETS_LIMIT)?;
    check_length("the name of who invites", &ticket.issued_by)?;
    state.put(tables::TICKETS, &tables::TICKETS.key(&[&ticket.secret_hash]), ticket)?;
    Ok(Outcome::Done)
}

pub(super) fn redeem_ticket(state: &mut State, secret_hash: &[u8; 32], agent: &AgentRecord) -> Step<Outcome> {
    let key = tables::TICKETS.key(&[secret_hash]);
    let ticket: Option<TicketRecord> = state.read(tables::TICKETS, &key)?;
    let now_ms = state.now_ms();
    let ticket = ticket.filter(|ticket| ticket.expires_ms > now_ms).ok_or(Rejection::BadTicket)?;
    check_record(agent)?;
    let known = query::agent(&*state.kv, agent.id)?;
    if known.is_none() {
        state.check_room(tables::AGENTS, MEMBERS_LIMIT)?;
    }
    state.delete(&key)?;
    state.delete(&tables::agent_key(tables::JOIN_REQUESTS, agent.id))?;
    match known {
        Some(known) => renew(state, known, agent),
        None => admit(state, agent, both(agent.roles, ticket.roles)),
    }
}

pub(super) fn request_join(state: &mut State, agent: &AgentRecord) -> Step<Outcome> {
    check_record(agent)?;
    if query::agent(&*state.kv, agent.id)?.is_some() {
        return Err(Rejection::Exists(agent.name.clone()).into());
    }
    let key = tables::agent_key(tables::JOIN_REQUESTS, agent.id);
    if state.read::<JoinRequest>(tables::JOIN_REQUESTS, &key)?.is_none() {
        state.check_room(tables::JOIN_REQUESTS, JOIN_REQUESTS_LIMIT)?;
    }
    let request = JoinRequest { agent: agent.clone(), asked_ms: state.now_ms() };
    state.put(tables::JOIN_REQUESTS, &key, &request)?;
    Ok(Outcome::Done)
}

pub(super) fn approve_join(state: &mut State, id: AgentId) -> Step<Outcome> {
    let (key, request) = join_request(state, id)?;
    state.check_room(tables::AGENTS, MEMBERS_LIMIT)?;
    state.delete(&key)?;
    admit(state, &request.agent, request.agent.roles)
}

pub(super) fn reject_join(state: &mut State, id: AgentId) -> Step<Outcome> {
    let (key, _) = join_request(state, id)?;
    state.delete(&key)?;
    Ok(Outcome::Done)
}

fn join_request(state: &State, id: AgentId) -> Step<(Vec<u8>, JoinRequest)> {
    let key = tables::agent_key(tables::JOIN_REQUESTS, id);
    let request = state.read(tables::JOIN_REQUESTS, &key)?;
    let request = request.ok_or_else(|| Rejection::NotFound(format!("a request of {id} to join")))?;
    Ok((key, request))
}

pub(super) fn update(state: &mut State, agent: &AgentRecord) -> Step<Outcome> {
    check_record(agent)?;
    let known = member(state, agent.id)?;
    renew(state, known, agent)
}

pub(super) fn rename(state: &mut State, id: AgentId, name: &str) -> Step<Outcome> {
    check_name("an agent's name", name)?;
    let mut record = member(state, id)?;
    let taken = query::agents(&*state.kv)?.iter().any(|other| other.id != id && same_name(&other.name, name));
    if taken {
        return Err(Rejection::Exists(name.to_owned()).into());
    }
    record.name = name.to_owned();
    put(state, record)
}

pub(super) fn set_state(state: &mut State, id: AgentId, standing: AgentState) -> Step<Outcome> {
    let mut record = member(state, id)?;
    record.state = standing;
    care::note_state(state, id, standing)?;
    put(state, record)
}

/// Strikes a member off. Forced, stripes go on naming it, so that what it holds counts again should it come back; for
/// readers and repair a shard on no member is one that is lost.
pub(super) fn remove(state: &mut State, id: AgentId, force: bool) -> Step<Outcome> {
    let record = member(state, id)?;
    let stripes = state.usage_mut(id)?.shards;
    if stripes > 0 && !force {
        return Err(Rejection::StillNeeded { agent: record.name, stripes }.into());
    }
    if record.roles.store && !force && query::certificate(&*state.kv, id)?.is_none() {
        return Err(Rejection::NotDrained(record.name).into());
    }
    if state.count(&tables::AGENTS.key(&[]), 2)? < 2 {
        return Err(Rejection::Invalid("the last member stays".to_owned()).into());
    }
    state.delete(&tables::agent_key(tables::AGENTS, id))?;
    care::forget_drain(state, id)?;
    bad::forget_agent(state, id)?;
    rights::forget_agent(state, id)?;
    uploads::abort_all(state, id, None)?;
    Ok(Outcome::Done)
}

/// Drops tickets and requests to join whose time is over.
pub(super) fn expire(state: &mut State) -> Step<()> {
    let now_ms = state.now_ms();
    for ticket in query::tickets(&*state.kv)? {
        if ticket.expires_ms <= now_ms {
            state.delete(&tables::TICKETS.key(&[&ticket.secret_hash]))?;
        }
    }
    for request in query::join_requests(&*state.kv)? {
        if request.asked_ms.saturating_add(JOIN_REQUEST_KEPT_MS) <= now_ms {
            state.delete(&tables::agent_key(tables::JOIN_REQUESTS, request.agent.id))?;
        }
    }
    Ok(())
}

/// Adds a member under a name of its own.
fn admit(state: &mut State, agent: &AgentRecord, roles: AgentRoles) -> Step<Outcome> {
    let mut record = agent.clone();
    record.name = free_name(&query::agents(&*state.kv)?, &agent.name);
    record.roles = roles;
    record.state = AgentState::Active;
    record.joined_ms = state.now_ms();
    put(state, record)
}

/// The name, or the first of `name-2`, `name-3`, … that nobody has.
fn free_name(members: &[AgentRecord], name: &str) -> String {
    let taken = |name: &str| members.iter().any(|member| same_name(&member.name, name));
    let mut free = name.to_owned();
    let mut number = 2_u32;
    while taken(&free) {
        free = format!("{name}-{number}");
        number += 1;
    }
    free
}

/// Takes over what a member says of itself.
fn renew(state: &mut State, known: AgentRecord, said: &AgentRecord) -> Step<Outcome> {
    let record = AgentRecord {
        control_addresses: said.control_addresses.clone(),
        data_addresses: said.data_addresses.clone(),
        capacity_bytes: said.capacity_bytes,
        version: said.version.clone(),
        ..known.clone()
    };
    if record == known {
        return Ok(Outcome::Agent(record));
    }
    put(state, record)
}

fn put(state: &mut State, record: AgentRecord) -> Step<Outcome> {
    state.put(tables::AGENTS, &tables::agent_key(tables::AGENTS, record.id), &record)?;
    Ok(Outcome::Agent(record))
}

fn member(state: &State, id: AgentId) -> Step<AgentRecord> {
    Ok(query::agent(&*state.kv, id)?.ok_or_else(|| Rejection::UnknownAgent(id.to_string()))?)
}

/// Refuses who is no member.
pub(super) fn check_member(state: &State, id: AgentId) -> Step<()> {
    member(state, id).map(drop)
}

fn both(left: AgentRoles, right: AgentRoles) -> AgentRoles {
    AgentRoles { store: left.store && right.store, mount: left.mount && right.mount, vote: left.vote && right.vote }
}

/// People type names: case and normal form do not tell two apart.
fn same_name(left: &str, right: &str) -> bool {
    left == right || normalized(&left.to_lowercase()) == normalized(&right.to_lowercase())
}

fn check_record(agent: &AgentRecord) -> Step<()> {
    check_name("an agent's name", &agent.name)?;
    check_length("the site", &agent.site)?;
    check_length("the version", &agent.version)?;
    if agent.control_addresses.len() > ADDRESSES_LIMIT || agent.data_addresses.len() > ADDRESSES_LIMIT {
        return Err(Rejection::TooMany("addresses of an agent".to_owned()).into());
    }
    Ok(())
}

/// A name people will read and type.
pub(super) fn check_name(what: &str, name: &str) -> Step<()> {
    check_length(what, name)?;
    if name.trim() != name || name.is_empty() || name.contains(char::is_control) {
        let reason = "must not be empty, begin or end with a space, or hold control characters";
        return Err(Rejection::Invalid(format!("{what} {reason}")).into());
    }
    Ok(())
}

fn check_length(what: &str, text: &str) -> Step<()> {
    if text.len() > NAME_LIMIT_BYTES {
        return Err(Rejection::Invalid(format!("{what} is longer than {NAME_LIMIT_BYTES} bytes")).into());
    }
    Ok(())
}
