//! The agent's own key, for the catalogue of its backup, and everybody's public ones.

use dci_proto::AgentId;
use shoal_backup::catalogue::{Signature, Signer, Verifier};

/// Signs as this agent.
pub(super) struct AgentSigner {
    pub(super) agent: AgentId,
    pub(super) signer: shoal_net::Signer,
}

impl Signer for AgentSigner {
    fn owner(&self) -> AgentId {
        self.agent
    }

    /// A key that cannot sign makes a signature nobody takes: nothing is acknowledged then, and the log says why.
    fn sign(&self, bytes: &[u8]) -> Signature {
        let signed = self.signer.sign(bytes).map_err(|error| error.to_string());
        let signature = signed.and_then(|bytes| bytes.try_into().map_err(|_| "its length is another".to_owned()));
        signature.unwrap_or_else(|error| {
            tracing::error!(error, "this agent's key does not sign");
            [0; 64]
        })
    }
}

/// Checks signatures of agents, whose ids are their keys.
pub(super) struct AgentVerifier;

impl Verifier for AgentVerifier {
    fn verify(&self, owner: AgentId, bytes: &[u8], signature: &Signature) -> bool {
        shoal_net::is_signed_by(owner, bytes, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_signed_is_its_word_and_nothing_else_is() {
        let seed = [7; 32];
        let agent = shoal_net::agent_id_of_seed(&seed).expect("an id");
        let signer = AgentSigner { agent, signer: shoal_net::Signer::of_seed(&seed).expect("a signer") };
        let signature = signer.sign(b"word");
        assert!(AgentVerifier.verify(agent, b"word", &signature));
        assert!(!AgentVerifier.verify(agent, b"ward", &signature));
        assert!(!AgentVerifier.verify(AgentId([1; 32]), b"word", &signature));
        assert!(!AgentVerifier.verify(agent, b"word", &[0; 64]));
    }
}
