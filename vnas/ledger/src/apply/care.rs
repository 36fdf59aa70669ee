//! The pool's patience, agents that are emptied, and the proof that they are.

use dci_proto::AgentId;

use super::state::State;
use super::{Step, members};
use crate::tables;
use crate::{AgentState, CarePolicy, DrainCertificate, DrainRecord, KvError, Outcome, Rejection, query};

/// The longest any patience may be, in seconds: ten years.
const PATIENCE_LIMIT_S: u64 = 10 * 365 * 24 * 60 * 60;
/// Bytes of a signature, at most.
const SIGNATURE_LIMIT_BYTES: usize = 128;

pub(super) fn set_policy(state: &mut State, policy: &CarePolicy) -> Step<Outcome> {
    let CarePolicy { absent_after_s, restripe_after_s, scrub_period_s, trash_keep_s } = *policy;
    if [absent_after_s, restripe_after_s, scrub_period_s, trash_keep_s].iter().any(|time| *time > PATIENCE_LIMIT_S) {
        return Err(Rejection::Invalid("no time may be longer than ten years".to_owned()).into());
    }
    if absent_after_s == 0 || scrub_period_s == 0 {
        let reason = "the times after which an agent is absent and a scrub begins anew must be at least a second";
        return Err(Rejection::Invalid(reason.to_owned()).into());
    }
    state.put(tables::CARE, &tables::CARE.key(&[]), policy)?;
    Ok(Outcome::Done)
}

/// Keeps the books on an agent's emptying in step with its state.
pub(super) fn note_state(state: &mut State, agent: AgentId, standing: AgentState) -> Result<(), KvError> {
    let key = tables::agent_key(tables::DRAINS, agent);
    if standing != AgentState::Draining {
        return forget_drain(state, agent);
    }
    if state.kv.get(&key)?.is_none() {
        let usage = *state.usage_mut(agent)?;
        let drain = DrainRecord { since_ms: state.now_ms(), shards: usage.shards, bytes: usage.bytes };
        state.put(tables::DRAINS, &key, &drain)?;
    }
    Ok(())
}

/// Forgets that an agent is or was emptied.
pub(super) fn forget_drain(state: &mut State, agent: AgentId) -> Result<(), KvError> {
    state.delete(&tables::agent_key(tables::DRAINS, agent))?;
    state.delete(&tables::agent_key(tables::CERTIFICATES, agent))
}

/// Takes a certificate in if what it says is so.
pub(super) fn put_certificate(state: &mut State, certificate: &DrainCertificate) -> Step<Outcome> {
    members::check_member(state, certificate.agent)?;
    let invalid = |reason: &str| Err(Rejection::Invalid(reason.to_owned()).into());
    if certificate.signature.len() > SIGNATURE_LIMIT_BYTES {
        return invalid("the signature is too long");
    }
    if query::drain(&*state.kv, certificate.agent)?.is_none() {
        return invalid("only an agent that is being drained gets a certificate");
    }
    let stripes = state.usage_mut(certificate.agent)?.shards;
    if stripes > 0 {
        return Err(Rejection::StillNeeded { agent: certificate.agent.to_string(), stripes }.into());
    }
    if query::moves(&*state.kv)?.iter().any(|one| one.what.to == certificate.agent) {
        return invalid("a shard is on its way to that agent");
    }
    let key = tables::agent_key(tables::CERTIFICATES, certificate.agent);
    state.put(tables::CERTIFICATES, &key, certificate)?;
    Ok(Outcome::Done)
}
