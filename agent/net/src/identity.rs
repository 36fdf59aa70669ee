//! The agent's key in libp2p's terms. Keys are handed in, used and forgotten; nothing here prints one.

use dci_proto::AgentId;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use zeroize::Zeroizing;

/// Why a key cannot be used. Says nothing of the key.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the agent's key is not usable")]
pub struct IdentityError;

/// The agent an ed25519 seed belongs to.
pub fn agent_id_of_seed(seed: &[u8; 32]) -> Result<AgentId, IdentityError> {
    agent_of_key(&keypair(seed)?)
}

/// Signs with the key of an ed25519 seed.
///
/// # Errors
/// If the seed is no key.
pub fn sign(seed: &[u8; 32], message: &[u8]) -> Result<Vec<u8>, IdentityError> {
    keypair(seed)?.sign(message).map_err(|_| IdentityError)
}

/// An agent's key, ready to sign with again and again.
pub struct Signer(Keypair);

impl Signer {
    /// The key of an ed25519 seed.
    ///
    /// # Errors
    /// If the seed is no key.
    pub fn of_seed(seed: &[u8; 32]) -> Result<Self, IdentityError> {
        keypair(seed).map(Self)
    }

    /// Signs a message.
    ///
    /// # Errors
    /// None that an ed25519 key can cause.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        self.0.sign(message).map_err(|_| IdentityError)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

/// Whether an agent signed a message.
#[must_use]
pub fn is_signed_by(agent: AgentId, message: &[u8], signature: &[u8]) -> bool {
    ed25519::PublicKey::try_from_bytes(&agent.0).is_ok_and(|key| key.verify(message, signature))
}

pub(crate) fn keypair(seed: &[u8; 32]) -> Result<Keypair, IdentityError> {
    let mut copy = Zeroizing::new(*seed);
    Keypair::ed25519_from_bytes(copy.as_mut_slice()).map_err(|_| IdentityError)
}

pub(crate) fn agent_of_key(keypair: &Keypair) -> Result<AgentId, IdentityError> {
    keypair.public().try_into_ed25519().map(|key| AgentId(key.to_bytes())).map_err(|_| IdentityError)
}

/// The peer id of an agent; `None` when its bytes are no point of the curve, so that nobody can be it.
pub(crate) fn peer_id(agent: AgentId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&agent.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The agent of a peer id; `None` when it is not of an ed25519 key.
pub(crate) fn agent_of_peer(peer: &PeerId) -> Option<AgentId> {
    let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    key.try_into_ed25519().ok().map(|key| AgentId(key.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_and_its_peer_id_have_the_same_text() {
        let agent = agent_id_of_seed(&[7; 32]).expect("a seed");
        let peer = peer_id(agent).expect("a key");
        assert_eq!(agent.to_string(), peer.to_string());
        assert_eq!(agent_of_peer(&peer), Some(agent));
    }

    #[test]
    fn a_peer_id_of_another_kind_is_no_agent() {
        let hashed = libp2p::multihash::Multihash::wrap(0x12, &[9; 32]).expect("fits");
        assert_eq!(agent_of_peer(&PeerId::from_multihash(hashed).expect("sha2-256")), None);
    }
}
