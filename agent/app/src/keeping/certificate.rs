//! The certificate of an emptied agent: the leader's signature under the sentence that the ledger counts on nothing it holds.

use dci_proto::{AgentId, PoolId};
use shoal_care::AgentFacts;
use shoal_ledger::{DrainCertificate, KvError, KvRead, query};

use crate::AgentError;

/// Emptied agents that have no certificate yet.
pub(super) fn due(view: &dyn KvRead, agents: &[AgentFacts]) -> Result<Vec<AgentId>, KvError> {
    let mut due = Vec::new();
    for agent in agents.iter().filter(|agent| agent.state == shoal_ledger::AgentState::Draining) {
        let empty = query::agent_usage(view, agent.id)?.shards == 0;
        if empty
            && query::certificate(view, agent.id)?.is_none()
            && !query::moves(view)?.iter().any(|one| one.what.to == agent.id)
        {
            due.push(agent.id);
        }
    }
    Ok(due)
}

/// What is signed.
pub(crate) fn statement(pool: PoolId, agent: AgentId, position: u64, issued_ms: u64) -> String {
    format!(
        "shoal drain certificate 1\npool {pool}\nagent {agent}\nposition {position}\nissued_ms {issued_ms}\n\
         nothing that this agent holds is counted on\n"
    )
}

/// Signs for an agent. `issued_ms`: the ledger's time.
pub(super) fn sign(
    pool: PoolId,
    agent: AgentId,
    position: u64,
    issued_ms: u64,
    signer: AgentId,
    seed: &[u8; 32],
) -> Result<DrainCertificate, AgentError> {
    let text = statement(pool, agent, position, issued_ms);
    let signature = shoal_net::sign(seed, text.as_bytes()).map_err(|error| AgentError::Internal(error.to_string()))?;
    Ok(DrainCertificate { agent, position, issued_ms, signer, signature })
}

/// Whether a certificate was signed by who it says.
pub(crate) fn is_genuine(pool: PoolId, certificate: &DrainCertificate) -> bool {
    let DrainCertificate { agent, position, issued_ms, signer, signature } = certificate;
    let text = statement(pool, *agent, *position, *issued_ms);
    shoal_net::is_signed_by(*signer, text.as_bytes(), signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_holds_for_what_was_signed_and_for_nothing_else() {
        let (seed, pool) = ([7; 32], PoolId([1; 16]));
        let signer = shoal_net::agent_id_of_seed(&seed).expect("a seed");
        let certificate = sign(pool, AgentId([2; 32]), 5, 1_800_000_000_000, signer, &seed).expect("signs");
        assert!(is_genuine(pool, &certificate));
        assert!(!is_genuine(PoolId([2; 16]), &certificate));
        assert!(!is_genuine(pool, &DrainCertificate { agent: AgentId([3; 32]), ..certificate.clone() }));
        assert!(!is_genuine(pool, &DrainCertificate { position: 6, ..certificate.clone() }));
        let other = shoal_net::agent_id_of_seed(&[8; 32]).expect("a seed");
        assert!(!is_genuine(pool, &DrainCertificate { signer: other, ..certificate }));
    }
}
