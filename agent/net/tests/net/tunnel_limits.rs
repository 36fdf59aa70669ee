//! Who gets no tunnel, and how little a hostile member gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::strangers::{client_config, libp2p_certificate, speak_tls};
use crate::tunnels::{A, B, C, D, Town};
use crate::world::*;
use dci_proto::AgentId;
use rustls::ServerConfig;
use rustls_pki_types::ServerName;
use shoal_net::{Lane, Network, NetworkError, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const TUNNEL: &str = "shoal-tunnel/1";
/// The limits, as the protocol document tells them.
const TUNNELS_PER_ASKER: usize = 64;
const HOPS: u8 = 9;
const STRANGER: u8 = 15;

/// A question as the protocol document describes it.
fn ask(target: AgentId, hops: u8, visited: &[AgentId]) -> Vec<u8> {
    let mut bytes = target.0.to_vec();
    bytes.extend([hops, 32]);
    bytes.extend(2000u16.to_be_bytes());
    bytes.push(visited.len() as u8);
    visited.iter().for_each(|agent| bytes.extend(agent.0));
    bytes
}

fn data(town: &Town, seed: u8) -> SocketAddr {
    town.nets[&seed].data_addresses()[0]
}

async fn answered(town: &Town, asker: u8, bytes: &[u8]) -> Vec<u8> {
    speak_tls(data(town, B), client_config(Some(libp2p_certificate(asker)), Some(TUNNEL)), bytes).await
}

/// Opens a tunnel by hand; the answer's first byte says what came of it.
async fn opened(town: &Town, asker: u8, target: u8) -> (u8, TlsStream<TcpStream>) {
    let config = client_config(Some(libp2p_certificate(asker)), Some(TUNNEL));
    let socket = TcpStream::connect(data(town, B)).await.expect("connects");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(config).connect(name, socket).await.expect("shakes hands");
    stream.write_all(&ask(agent(target), HOPS - 1, &[])).await.expect("asks");
    let mut answer = [0; 3];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    (answer[0], stream)
}

#[tokio::test]
async fn only_members_get_a_tunnel_and_only_to_members() {
    let town = Town::row().await;
    let wanted = ask(agent(D), HOPS - 1, &[]);
    assert!(answered(&town, STRANGER, &wanted).await.is_empty(), "a stranger got an answer");
    assert_eq!(answered(&town, A, &ask(agent(STRANGER), HOPS - 1, &[])).await, [3, 32, 0], "no member");
    let (open, stream) = opened(&town, A, D).await;
    assert_eq!(open, 0, "a member is carried to a member");
    // A is struck off where the tunnel begins: what stands is closed, what is new is refused.
    let but_a: Vec<Peer> = [C, D].map(|seed| peer_of(&town.nets[&seed])).into();
    town.nets[&B].set_peers(but_a);
    let mut stream = stream;
    let closed = tokio::time::timeout(DEADLINE, stream.read(&mut [0; 1])).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    assert!(answered(&town, A, &wanted).await.is_empty(), "one that was struck off got an answer");
}

#[tokio::test]
async fn who_is_struck_off_at_the_end_is_refused_there_though_others_carry_it() {
    let town = Town::row().await;
    town.call(A, D, Lane::Foreground, 0).await.expect("answers");
    let before = town.asked(D);
    town.nets[&D].set_peers(vec![peer_of(&town.nets[&C])]);
    for lane in [Lane::Control, Lane::Foreground] {
        let refused = town.call(A, D, lane, 0).await;
        assert!(matches!(refused, Err(NetworkError::Unreachable { .. })), "{refused:?}");
    }
    assert_eq!(town.asked(D), before);
}

#[tokio::test]
async fn a_tunnel_closes_when_its_target_is_struck_off_in_between() {
    let town = Town::row().await;
    let (open, mut stream) = opened(&town, A, C).await;
    assert_eq!(open, 0);
    town.nets[&B].set_peers(vec![peer_of(&town.nets[&A])]);
    let closed = tokio::time::timeout(DEADLINE, stream.read(&mut [0; 1])).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn what_is_no_proper_question_is_not_answered() {
    let town = Town::row().await;
    let mut too_many = ask(agent(D), HOPS, &[]);
    too_many[36] = 129;
    for bytes in [ask(agent(D), 0, &[]), ask(agent(D), HOPS + 1, &[]), too_many, vec![0xff; 100]] {
        assert!(answered(&town, A, &bytes).await.is_empty(), "{bytes:?}");
    }
    // Half a question: closed when the time for it is up, which is well before the deadline.
    assert!(answered(&town, A, &ask(agent(D), HOPS, &[])[..20]).await.is_empty());
}

#[tokio::test]
async fn ways_have_no_loops_and_no_more_hops_than_allowed() {
    let town = Town::row().await;
    town.call(B, C, Lane::Control, 0).await.expect("answers");
    let no_way = |answer: &[u8]| answer.first() == Some(&1);
    assert!(no_way(&answered(&town, A, &ask(agent(D), 1, &[])).await), "B does not reach D itself");
    assert!(no_way(&answered(&town, A, &ask(agent(D), 8, &[agent(C)])).await), "C was visited");
    assert!(no_way(&answered(&town, A, &ask(agent(D), 8, &[agent(B)])).await), "B itself was visited");
    assert!(no_way(&answered(&town, A, &ask(agent(A), 8, &[])).await), "back to the asker");
    let (open, _stream) = opened(&town, A, D).await;
    assert_eq!(open, 0, "over C");
}

#[tokio::test]
async fn one_member_gets_so_many_tunnels_and_others_theirs() {
    let town = Town::row().await;
    let mut held = Vec::new();
    for number in 0..TUNNELS_PER_ASKER {
        let (open, stream) = opened(&town, A, C).await;
        assert_eq!(open, 0, "tunnel {number}");
        held.push(stream);
    }
    assert_eq!(opened(&town, A, C).await.0, 2, "one too many");
    assert_eq!(opened(&town, D, A).await.0, 0, "another member's");
    held.truncate(TUNNELS_PER_ASKER / 2);
    until("there is room again", async || opened(&town, A, C).await.0 == 0).await;
}

/// Plays the agent in between and then the target, with its own key.
async fn impostor(listener: TcpListener, seed: u8) -> Vec<u8> {
    let config = |protocol: &str| {
        let (certificate, key) = libp2p_certificate(seed);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&key).expect("a key");
        let certified = rustls::sign::CertifiedKey::new(vec![certificate], key);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        TlsAcceptor::from(Arc::new(config))
    };
    let mut heard = Vec::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { return heard };
        // What is no tunnel is not spoken here.
        let Ok(mut stream) = config(TUNNEL).accept(socket).await else { continue };
        stream.read_exact(&mut [0; 37 + 32]).await.expect("a question that names the asker as visited");
        stream.write_all(&[0, 0, 0]).await.expect("says that the tunnel stands");
        if let Ok(mut within) = config("shoal-tunnelled/1").accept(stream).await {
            let _ = within.read_to_end(&mut heard).await;
        }
        return heard;
    }
}

#[tokio::test]
async fn whoever_is_in_between_cannot_play_the_target() {
    let listener = TcpListener::bind(LOOPBACK).await.expect("binds");
    let middle = listener.local_addr().expect("bound");
    let playing = tokio::spawn(impostor(listener, B));
    let asking = start_net(A, Obedient::new()).await;
    let target = Peer { agent: agent(D), control_addresses: vec![], data_addresses: vec![] };
    asking.set_peers(vec![Peer { agent: agent(B), control_addresses: vec![], data_addresses: vec![middle] }, target]);
    let secret = request(ECHO, b"secret", vec![]);
    let answer = asking.call(agent(D), Lane::Foreground, secret, DEADLINE).await;
    assert!(matches!(answer, Err(NetworkError::Unreachable { .. })), "{answer:?}");
    let heard = tokio::time::timeout(Duration::from_secs(10), playing).await.expect("it was asked").expect("no panic");
    assert!(heard.is_empty(), "it heard {heard:?}");
}
