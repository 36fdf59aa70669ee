//! Whoever is no member gets nothing: not over TLS, not over libp2p, not through the join protocol. And what a
//! member sends wrongly costs it that connection and nobody else anything.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::*;
use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use libp2p::futures::StreamExt;
use libp2p::swarm::SwarmEvent;
use libp2p::{identity, noise, tcp, yamux};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use shoal_net::{JoinError, JoinHandler, Lane, Net, NetConfig, Network, NetworkError, join_call};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A network with one member, which is never there, and a handler that must never be called.
struct Fortress {
    net: Net,
    handler: Arc<Obedient>,
    doorkeeper: Arc<Doorkeeper>,
}

/// Answers with the question and remembers who asked.
#[derive(Default)]
struct Doorkeeper {
    asked: AtomicUsize,
    last: Mutex<Option<AgentId>>,
}

#[async_trait]
impl JoinHandler for Doorkeeper {
    async fn join(&self, from: AgentId, _remote: IpAddr, body: Bytes) -> Bytes {
        self.asked.fetch_add(1, Ordering::SeqCst);
        *self.last.lock().expect("not poisoned") = Some(from);
        body
    }
}

const MEMBER: u8 = 5;
const OWN: u8 = 6;
const STRANGER: u8 = 7;

async fn fortress() -> Fortress {
    let (handler, doorkeeper) = (Obedient::new(), Arc::new(Doorkeeper::default()));
    let config = NetConfig { key_seed: [OWN; 32].into(), control_listen: LOOPBACK, data_listen: LOOPBACK };
    let net = Net::start(config, handler.clone(), doorkeeper.clone()).await.expect("starts");
    net.set_peers(vec![shoal_net::Peer { agent: agent(MEMBER), control_addresses: vec![], data_addresses: vec![] }]);
    Fortress { net, handler, doorkeeper }
}

impl Fortress {
    fn data(&self) -> SocketAddr {
        self.net.data_addresses()[0]
    }

    fn nobody_was_served(&self) {
        assert_eq!(self.handler.calls(), 0, "the handler was called");
        assert_eq!(self.doorkeeper.asked.load(Ordering::SeqCst), 0, "the join handler was called");
    }
}

/// A request frame as the protocol document describes it.
fn frame(lane: u8, head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, lane, 0, ECHO as u8];
    bytes.extend((head.len() as u32).to_be_bytes());
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(0u64.to_be_bytes());
    bytes.extend(head);
    bytes.extend(body);
    bytes
}

/// Takes whatever server.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}

pub(crate) type Certificate = (CertificateDer<'static>, PrivateKeyDer<'static>);

pub(crate) fn libp2p_certificate(seed: u8) -> Certificate {
    let keypair = identity::Keypair::ed25519_from_bytes([seed; 32]).expect("a seed");
    libp2p::tls::certificate::generate(&keypair).expect("a certificate")
}

fn foreign_certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    (made.cert.der().clone(), PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()))
}

pub(crate) fn client_config(certificate: Option<Certificate>, protocol: Option<&str>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut config = match certificate {
        Some((certificate, key)) => {
            let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&key).expect("a key");
            // As it is: rustls itself would refuse the critical extension.
            let certified = CertifiedKey::new(vec![certificate], key);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocol.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Sends bytes over TLS and returns what came back until the other end closed.
pub(crate) async fn speak_tls(address: SocketAddr, config: Arc<ClientConfig>, bytes: &[u8]) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut answer = Vec::new();
    let spoken = async {
        let mut stream = TlsConnector::from(config).connect(name, TcpStream::connect(address).await?).await?;
        stream.write_all(bytes).await?;
        stream.flush().await?;
        stream.read_to_end(&mut answer).await
    };
    // Refusals show as errors at any of these steps; what counts is what was answered, and that it ends.
    let _ = tokio::time::timeout(DEADLINE, spoken).await.expect("the stranger is turned away in time");
    answer
}

#[tokio::test]
async fn over_tls_only_members_are_answered() {
    let fortress = fortress().await;
    let data = Some("shoal-data/1");
    let strangers = [
        ("a stranger with a valid identity", Some(libp2p_certificate(STRANGER)), data),
        ("a foreign certificate", Some(foreign_certificate()), data),
        ("no certificate", None, data),
        ("no certificate, joining", None, Some("shoal-join/1")),
        ("a foreign certificate, joining", Some(foreign_certificate()), Some("shoal-join/1")),
        ("a member that names no protocol", Some(libp2p_certificate(MEMBER)), None),
        ("a member with another protocol", Some(libp2p_certificate(MEMBER)), Some("h2")),
    ];
    for (who, certificate, protocol) in strangers {
        let answer = speak_tls(fortress.data(), client_config(certificate, protocol), &frame(1, b"", b"")).await;
        assert!(answer.is_empty(), "{who} was answered {answer:?}");
        fortress.nobody_was_served();
    }
    // The same bytes from a member are answered: it was the identity, not the frame.
    let config = client_config(Some(libp2p_certificate(MEMBER)), data);
    let name = ServerName::try_from("localhost").expect("a name");
    let socket = TcpStream::connect(fortress.data()).await.expect("connects");
    let mut stream = TlsConnector::from(config).connect(name, socket).await.expect("shakes hands");
    stream.write_all(&frame(1, b"ab", b"c")).await.expect("writes");
    let mut answer = [0; 23];
    stream.read_exact(&mut answer).await.expect("is answered");
    assert_eq!(&answer[20..], b"abc");
}

#[tokio::test]
async fn who_asks_to_join_reaches_the_join_handler_and_nothing_else() {
    let fortress = fortress().await;
    let config = client_config(Some(libp2p_certificate(STRANGER)), Some("shoal-join/1"));
    // A data request (lane 1, with a head) in the join protocol.
    let answer = speak_tls(fortress.data(), config.clone(), &frame(1, b"head", b"")).await;
    assert!(answer.is_empty());
    // A question over the limit.
    let answer = speak_tls(fortress.data(), config.clone(), &frame(0, b"", &vec![0; 64 * 1024 + 1])).await;
    assert!(answer.is_empty());
    fortress.nobody_was_served();
    // A proper question, then a data request after it.
    let two = [frame(0, b"", b"let me in"), frame(1, b"", b"")].concat();
    let answer = speak_tls(fortress.data(), config, &two).await;
    assert_eq!(&answer[20..], b"let me in");
    assert_eq!(fortress.handler.calls(), 0);
    assert_eq!(fortress.doorkeeper.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_join_call_proves_both_ends() {
    let fortress = fortress().await;
    let addresses = fortress.net.data_addresses();
    let question = Bytes::from_static(b"question");
    let call = |expected| join_call(&[STRANGER; 32], &addresses, expected, question.clone(), DEADLINE);
    for expected in [None, Some(agent(OWN))] {
        let (who, answer) = call(expected).await.expect("answers");
        assert_eq!((who, answer), (agent(OWN), question.clone()));
        assert_eq!(locked(&fortress.doorkeeper.last), Some(agent(STRANGER)));
    }
    let asked = fortress.doorkeeper.asked.load(Ordering::SeqCst);
    assert!(matches!(call(Some(agent(MEMBER))).await, Err(JoinError::Unreachable(_))));
    assert_eq!(fortress.doorkeeper.asked.load(Ordering::SeqCst), asked, "it was asked though it is another");
    let too_long = join_call(&[STRANGER; 32], &addresses, None, vec![0; 64 * 1024 + 1].into(), DEADLINE).await;
    assert!(matches!(too_long, Err(JoinError::TooLarge(_))));
}

#[tokio::test]
async fn garbage_on_a_port_is_answered_with_nothing_of_ours() {
    let fortress = fortress().await;
    for port in [fortress.data(), fortress.net.control_addresses()[0]] {
        let mut socket = TcpStream::connect(port).await.expect("connects");
        socket.write_all(&[0xff; 4096]).await.expect("writes");
        let mut answer = Vec::new();
        // Closed or reset, with at most a TLS alert or a negotiation's first words.
        let closed = tokio::time::timeout(DEADLINE, socket.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "the socket stays open");
        assert!(answer.len() < 64, "{answer:?}");
    }
    fortress.nobody_was_served();
}

#[tokio::test]
async fn over_libp2p_a_stranger_is_disconnected_before_it_can_open_a_stream() {
    let fortress = fortress().await;
    let keypair = identity::Keypair::ed25519_from_bytes([STRANGER; 32]).expect("a seed");
    let mut swarm = libp2p::SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
        .expect("a transport")
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .expect("a behaviour")
        .with_swarm_config(|config| config.with_idle_connection_timeout(DEADLINE * 2))
        .build();
    let address = fortress.net.control_addresses()[0];
    let address: libp2p::Multiaddr = format!("/ip4/{}/tcp/{}", address.ip(), address.port()).parse().expect("one");
    swarm.dial(address).expect("dials");
    let closed = tokio::time::timeout(DEADLINE, async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => return,
                _ => {}
            }
        }
    });
    closed.await.expect("the stranger is turned away");
    fortress.nobody_was_served();
}

#[tokio::test]
async fn garbage_from_a_member_costs_it_that_connection_only() {
    let fortress = fortress().await;
    let config = client_config(Some(libp2p_certificate(MEMBER)), Some("shoal-data/1"));
    let name = ServerName::try_from("localhost").expect("a name");
    let socket = TcpStream::connect(fortress.data()).await.expect("connects");
    let mut good = TlsConnector::from(config.clone()).connect(name, socket).await.expect("shakes hands");
    let mut announces_too_much = frame(1, b"", b"");
    announces_too_much[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut response = frame(1, b"", b"");
    response[0] = 2;
    let both_lanes = [frame(2, b"", b""), frame(1, b"", b"")].concat();
    let bad = [vec![0xff; 100], announces_too_much, response, frame(0, b"", b""), frame(7, b"", b"")];
    for bytes in bad {
        assert!(speak_tls(fortress.data(), config.clone(), &bytes).await.is_empty(), "{bytes:?}");
    }
    assert_eq!(fortress.handler.calls(), 0);
    // The first of two lanes is served, the second breaks the rule.
    speak_tls(fortress.data(), config, &both_lanes).await;
    until("the first lane is served", async || fortress.handler.calls() == 1).await;
    good.write_all(&frame(1, b"", b"still here")).await.expect("writes");
    let mut answer = [0; 30];
    good.read_exact(&mut answer).await.expect("is answered");
    assert_eq!(&answer[20..], b"still here");
    assert_eq!(fortress.handler.calls(), 2);
}

#[tokio::test]
async fn a_member_struck_off_is_cut_off_at_both_ends() {
    let pair = pair(RealWorld::default()).await;
    for lane in [Lane::Control, Lane::Foreground, Lane::Background] {
        pair.call(lane, request(ECHO, b"", vec![])).await.expect("answers");
    }
    let before = pair.handler.calls();
    let network = pair.asking.clone();
    let waiting = tokio::spawn(async move {
        network.call(agent(ANSWERING), Lane::Foreground, request(NEVER, b"", vec![]), DEADLINE * 2).await
    });
    until("the last request is at work", async || pair.handler.calls() > before).await;
    pair.answering.set_peers(vec![]);
    let cut = tokio::time::timeout(DEADLINE, waiting).await.expect("it is cut off").expect("no panic");
    assert!(matches!(cut, Err(NetworkError::Unreachable { .. })), "{cut:?}");
    until("the control connection is closed", async || !pair.asking.status(agent(ANSWERING)).connected).await;
    let served = pair.handler.calls();
    for lane in [Lane::Control, Lane::Foreground, Lane::Background] {
        let refused = pair.call(lane, request(ECHO, b"", vec![])).await;
        assert!(matches!(refused, Err(NetworkError::Unreachable { .. })), "{refused:?} on {lane:?}");
    }
    assert_eq!(pair.handler.calls(), served);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = start_net(1, Obedient::new()).await;
    let (control, data) = (taken.control_addresses()[0], taken.data_addresses()[0]);
    for (control_listen, data_listen, named) in [(control, LOOPBACK, control), (LOOPBACK, data, data)] {
        let config = NetConfig { key_seed: [2; 32].into(), control_listen, data_listen };
        let error = Net::start(config, Obedient::new(), Arc::new(shoal_net::RefuseJoins)).await.expect_err("in use");
        assert!(error.to_string().contains(&named.to_string()), "{error}");
    }
}

#[test]
fn the_key_is_not_printed() {
    let config = NetConfig { key_seed: [77; 32].into(), control_listen: LOOPBACK, data_listen: LOOPBACK };
    assert!(!format!("{config:?}").contains("77"));
}

/// Long enough to see that something waits.
const A_WHILE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn an_unanswering_peer_costs_only_those_who_ask_it() {
    // Accepts connections and never says a word, as a stopped process does.
    let silent = tokio::net::TcpListener::bind(LOOPBACK).await.expect("binds");
    let address = silent.local_addr().expect("bound");
    let pair = pair(RealWorld::default()).await;
    let dead = shoal_net::Peer { agent: agent(9), control_addresses: vec![address], data_addresses: vec![address] };
    pair.asking.set_peers(vec![pair.world.peer(ANSWERING), dead]);
    for lane in [Lane::Control, Lane::Foreground, Lane::Background] {
        let (to_dead, to_living) = tokio::join!(
            pair.asking.call(agent(9), lane, request(ECHO, b"", vec![]), A_WHILE),
            pair.asking.call(agent(ANSWERING), lane, request(ECHO, b"", vec![]), DEADLINE),
        );
        assert!(matches!(to_dead, Err(NetworkError::Timeout { .. })), "{to_dead:?}");
        to_living.expect("answers");
    }
}
