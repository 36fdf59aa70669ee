//! TLS for the data channel: TLS 1.3, AES-128-GCM first, both ends proved by a self-signed certificate in libp2p's
//! format, which carries the agent's public key and its signature of the certificate's own key
//! (<https://github.com/libp2p/specs/blob/master/tls/tls.md>).
//!
//! Configurations never share anything: data and tunnels as a server (members only) and as a client (exactly the agent
//! that was dialled), and join (whoever, but proved). There is no key log and no session resumption, so every
//! connection is checked against today's members.

use std::sync::Arc;

use dci_proto::AgentId;
use libp2p::identity::Keypair;
use libp2p::tls::certificate;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::identity::agent_of_peer;
use crate::peers::PeerTable;

/// Shard bytes between members.
pub(crate) const DATA_PROTOCOL: &[u8] = b"shoal-data/1";
/// Shard bytes, and whatever else, between members that others are in between.
pub(crate) const TUNNELLED_PROTOCOL: &[u8] = b"shoal-tunnelled/1";
/// A member asks for a way to another.
pub(crate) const TUNNEL_PROTOCOL: &[u8] = b"shoal-tunnel/1";
/// A member brings a connection that it was asked for.
pub(crate) const BACK_PROTOCOL: &[u8] = b"shoal-back/1";
/// One question of whoever wants to become a member.
pub(crate) const JOIN_PROTOCOL: &[u8] = b"shoal-join/1";

/// Why TLS cannot be set up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot make the agent's certificate: {0}")]
pub struct TlsError(String);

/// Whose certificates are taken.
#[derive(Debug, Clone)]
enum Accepted {
    Members(Arc<PeerTable>),
    Only(AgentId),
    Anyone,
}

#[derive(Debug)]
struct Verifier {
    accepted: Accepted,
    provider: Arc<CryptoProvider>,
}

/// The agent a certificate proves, its self-signature and the agent's signature being checked.
pub(crate) fn agent_of_certificate(certificate: &CertificateDer<'_>) -> Option<AgentId> {
    certificate::parse(certificate).ok().and_then(|parsed| agent_of_peer(&parsed.peer_id()))
}

/// The agent at the other end of a finished handshake.
pub(crate) fn agent_of_chain(chain: Option<&[CertificateDer<'_>]>) -> Option<AgentId> {
    chain.and_then(<[_]>::first).and_then(agent_of_certificate)
}

impl Verifier {
    fn check(&self, certificate: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error> {
        let refused = |why| Err(Error::InvalidCertificate(why));
        if !rest.is_empty() {
            return refused(CertificateError::BadEncoding);
        }
        let Some(agent) = agent_of_certificate(certificate) else {
            return refused(CertificateError::BadSignature);
        };
        let accepted = match &self.accepted {
            Accepted::Members(members) => members.get(agent).is_some(),
            Accepted::Only(expected) => agent == *expected,
            Accepted::Anyone => true,
        };
        if accepted { Ok(()) } else { refused(CertificateError::ApplicationVerificationFailure) }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bad = || Error::InvalidCertificate(CertificateError::BadSignature);
        let parsed = certificate::parse(certificate).map_err(|_| bad())?;
        parsed.verify_signature(signature.scheme, message, signature.signature()).map_err(|_| bad())?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn only_tls13() -> Error {
    Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// What an agent needs to make configurations: its certificate and the ciphers.
pub(crate) struct TlsIdentity {
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl TlsIdentity {
    /// Makes a fresh certificate for the agent's key.
    pub(crate) fn new(keypair: &Keypair) -> Result<Self, TlsError> {
        let provider = CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            ..aws_lc_rs::default_provider()
        };
        let failed = |error: &dyn std::fmt::Display| TlsError(error.to_string());
        let (certificate, key) = certificate::generate(keypair).map_err(|error| failed(&error))?;
        let key = provider.key_provider.load_private_key(key).map_err(|error| failed(&error))?;
        Ok(Self { certified: Arc::new(CertifiedKey::new(vec![certificate], key)), provider: Arc::new(provider) })
    }

    fn verifier(&self, accepted: Accepted) -> Arc<Verifier> {
        Arc::new(Verifier { accepted, provider: self.provider.clone() })
    }

    fn server(&self, accepted: Accepted, protocol: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| TlsError(error.to_string()))?
            .with_client_cert_verifier(self.verifier(accepted))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        config.alpn_protocols = vec![protocol.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn client(&self, accepted: Accepted, protocol: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| TlsError(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(accepted))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Arc::new(config))
    }

    /// Serves a protocol to members.
    pub(crate) fn member_server(
        &self,
        members: Arc<PeerTable>,
        protocol: &[u8],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        self.server(Accepted::Members(members), protocol)
    }

    /// Serves the join protocol to whoever proves an identity.
    pub(crate) fn join_server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        self.server(Accepted::Anyone, JOIN_PROTOCOL)
    }

    /// Speaks a protocol with one agent and nobody else.
    pub(crate) fn member_client(&self, agent: AgentId, protocol: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
        self.client(Accepted::Only(agent), protocol)
    }

    /// Dials to join: the agent expected, or whoever answers.
    pub(crate) fn join_client(&self, expected: Option<AgentId>) -> Result<Arc<ClientConfig>, TlsError> {
        self.client(expected.map_or(Accepted::Anyone, Accepted::Only), JOIN_PROTOCOL)
    }
}

/// The name put in a handshake; certificates here are of keys, not of names.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}
