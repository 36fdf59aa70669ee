//! A member that does what it may not: its key is a member's, its program is ours. Whatever it sends, nobody takes what is not
//! right, nothing stops, memory stays bounded, and others are served meanwhile (invariants 7 and 8).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::message::{Body, Envelope, Message, Recipient, Sender, encode, signed_bytes};
use dci_proto::{AgentId, MessageId};
use serde::Serialize;
use shoal_net::{Handler, Lane, Net, NetConfig, Network, Peer, RefuseJoins, Request, Response, sign};
use shoal_testkit::{AgentProcess, free_port_base, start_pool, wait_until};
use zeroize::Zeroizing;

const DEADLINE: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(20);
/// Numbers of requests between agents (`docs/protocol.md`).
const PING: u16 = 10;
const MESSAGES: u16 = 20;

#[derive(Serialize)]
struct CopyHead {
    ttl: u8,
    attempt: u8,
    flooded: bool,
    not_yet: Vec<AgentId>,
    bytes: u32,
}

#[derive(Serialize)]
enum Head {
    Copy(CopyHead),
}

#[derive(Serialize)]
struct Heads {
    items: Vec<Head>,
}

/// Copies as one request's body.
fn frame(copies: &[(u8, &[u8])]) -> Bytes {
    let head = |(ttl, xml): &(u8, &[u8])| {
        Head::Copy(CopyHead { ttl: *ttl, attempt: 0, flooded: false, not_yet: vec![], bytes: xml.len() as u32 })
    };
    let heads = postcard::to_stdvec(&Heads { items: copies.iter().map(head).collect() }).expect("heads");
    let mut body = (heads.len() as u32).to_le_bytes().to_vec();
    body.extend(heads);
    copies.iter().for_each(|(_, xml)| body.extend_from_slice(xml));
    Bytes::from(body)
}

/// Says that it lives, and nothing else.
struct Alive;

#[async_trait]
impl Handler for Alive {
    async fn handle(&self, _: AgentId, _: Lane, request: Request) -> Response {
        let status = if request.method == PING { 0 } else { 4 };
        Response { status, head: request.head, body: Bytes::new() }
    }
}

/// The member that does what it may not.
struct Rogue {
    net: Net,
    seed: Zeroizing<[u8; 32]>,
    agent: AgentId,
}

impl Rogue {
    async fn new(data: &Path, victim: AgentId, control: SocketAddr, shards: SocketAddr) -> Self {
        let key = std::fs::read(data.join("key")).expect("its key");
        let seed = Zeroizing::new(<[u8; 32]>::try_from(key.as_slice()).expect("a seed"));
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = NetConfig { key_seed: seed.clone(), control_listen: any, data_listen: any };
        let net = Net::start(config, Arc::new(Alive), Arc::new(RefuseJoins)).await.expect("a network");
        net.set_peers(vec![Peer { agent: victim, control_addresses: vec![control], data_addresses: vec![shards] }]);
        let agent = net.local();
        Self { net, seed, agent }
    }

    /// Has the victim hear of it, as agents do all the time.
    async fn ping(&self, victim: AgentId) -> bool {
        // What an agent says of itself: a version byte, then zeros for everything.
        let request = Request {
            method: PING,
            head: Bytes::from(vec![1; 1].into_iter().chain([0; 64]).collect::<Vec<u8>>()),
            body: Bytes::new(),
        };
        self.net.call(victim, Lane::Control, request, CALL).await.is_ok_and(|answer| answer.status == 0)
    }

    async fn send(&self, victim: AgentId, copies: &[(u8, &[u8])]) -> Option<u16> {
        let request = Request { method: MESSAGES, head: Bytes::new(), body: frame(copies) };
        self.net.call(victim, Lane::Foreground, request, CALL).await.ok().map(|answer| answer.status)
    }

    fn message(&self, victim: AgentId, text: &str) -> Message {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        Message {
            id: MessageId(*uuid::Uuid::now_v7().as_bytes()),
            kind: "word-count".parse().unwrap(),
            session: None,
            sent_ms: now_ms,
            expires_ms: now_ms + 600_000,
            from: Sender { agent: self.agent, user: Some("admin".parse().unwrap()), session: None },
            to: Recipient::Agent(victim),
            in_reply_to: None,
            replay_of: None,
            body: Body::of_text(text).unwrap(),
        }
    }

    fn signed(&self, message: Message) -> Vec<u8> {
        let signature = sign(&self.seed, &signed_bytes(&message)).unwrap().try_into().unwrap();
        encode(&Envelope { message, ttl: 9, signature }).expect("a message").into_bytes()
    }
}

struct Scene {
    agents: Vec<AgentProcess>,
    rogue: Rogue,
    victim: AgentId,
    _folder: tempfile::TempDir,
}

/// Two agents, and the key of a third that was one.
async fn scene() -> Scene {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port_base(30).expect("ports");
    let binary = Path::new(env!("CARGO_BIN_EXE_shoal"));
    let mut agents = start_pool(binary, folder.path(), port, 3, |_| Ok(())).expect("a pool");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../peerlets/examples/word-count");
    agents[1].json(&["peerlet", "add", example.to_str().unwrap()]).expect("installed");
    let victim: AgentId = agents[1].json(&["peerlet", "list"]).unwrap()["agent"].as_str().unwrap().parse().unwrap();
    let data: PathBuf = agents[2].data().to_owned();
    drop(agents.pop().unwrap().kill().expect("killed"));
    let base = agents[1].dav_address().port();
    let at = |offset: u16| SocketAddr::from(([127, 0, 0, 1], base + offset));
    let rogue = Rogue::new(&data, victim, at(2), at(3)).await;
    let deadline = Instant::now() + DEADLINE;
    loop {
        // Taken once it is seen as a neighbour; an empty frame does nothing.
        if rogue.ping(victim).await && rogue.send(victim, &[]).await == Some(0) {
            break;
        }
        assert!(Instant::now() < deadline, "the rogue is never taken for a neighbour");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Scene { agents, rogue, victim, _folder: folder }
}

impl Scene {
    /// Messages of that text that the victim has in its log.
    fn logged(&self, text: &str) -> usize {
        let log = self.agents[1].json(&["log", "--direction", "received", "--text", text]).expect("a log");
        log["entries"].as_array().unwrap().len()
    }

    fn refused(&self, reason: &str) -> u64 {
        let metrics = self.agents[1].api().request("GET", "/metrics", &[], b"").expect("metrics");
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        let line = format!("shoal_messages_refused_total{{reason=\"{reason}\"}} ");
        text.lines().find_map(|text| text.strip_prefix(&line)).and_then(|number| number.parse().ok()).expect("a count")
    }

    async fn refuses(&self, what: &str, reason: &str, ttl: u8, xml: &[u8]) {
        let before = self.refused(reason);
        let status = self.rogue.send(self.victim, &[(ttl, xml)]).await;
        assert!(status.is_some(), "{what}: no answer");
        assert_eq!(self.refused(reason), before + 1, "{what} is refused as {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_right_is_refused_counted_and_nowhere_in_the_log() {
    let scene = scene().await;
    let (rogue, victim) = (&scene.rogue, scene.victim);
    let good = |text: &str| rogue.message(victim, text);

    // A right one is taken, so that what follows is refused for the right reason.
    assert_eq!(rogue.send(victim, &[(9, &rogue.signed(good("right one")))]).await, Some(0));
    wait_until("the right one to be there", DEADLINE, || Ok((scene.logged("right one") == 1).then_some(()))).unwrap();

    let unsigned = encode(&Envelope { message: good("evil unsigned"), ttl: 9, signature: [0; 64] }).unwrap();
    scene.refuses("unsigned", "forged", 9, unsigned.as_bytes()).await;
    let mut altered = String::from_utf8(rogue.signed(good("evil as it was"))).unwrap();
    altered = altered.replace("evil as it was", "evil altered");
    scene.refuses("altered", "forged", 9, altered.as_bytes()).await;

    // In another member's name, with one's own key.
    let mut in_name = good("evil in another name");
    in_name.from.agent = victim;
    let signature = sign(&rogue.seed, &signed_bytes(&in_name)).unwrap().try_into().unwrap();
    let in_name = encode(&Envelope { message: in_name, ttl: 9, signature }).unwrap();
    scene.refuses("in another name", "forged", 9, in_name.as_bytes()).await;

    // Of nobody's key, rightly signed.
    let stranger_seed = [9; 32];
    let mut strange = good("evil stranger");
    strange.from.agent = shoal_net::agent_id_of_seed(&stranger_seed).unwrap();
    let signature = sign(&stranger_seed, &signed_bytes(&strange)).unwrap().try_into().unwrap();
    let strange = encode(&Envelope { message: strange, ttl: 9, signature }).unwrap();
    scene.refuses("a stranger's", "stranger", 9, strange.as_bytes()).await;

    // Time.
    let mut old = good("evil old");
    (old.sent_ms, old.expires_ms) = (old.sent_ms - 700_000, old.sent_ms - 100_000);
    scene.refuses("expired", "out_of_time", 9, &rogue.signed(old)).await;
    let mut early = good("evil early");
    (early.sent_ms, early.expires_ms) = (early.sent_ms + 2 * 86_400_000, early.expires_ms + 2 * 86_400_000);
    scene.refuses("from the future", "out_of_time", 9, &rogue.signed(early)).await;

    // Hops.
    for ttl in [0, 10, 255] {
        scene.refuses("hops", "hops", ttl, &rogue.signed(good("evil hops"))).await;
    }

    // XML.
    let bombs = [
        "<!DOCTYPE m [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><message>&b;</message>".to_owned(),
        format!("{}evil{}", "<a>".repeat(50_000), "</a>".repeat(50_000)),
        "<message".to_owned(),
        "\u{0}\u{1}evil".to_owned(),
        String::from_utf8(rogue.signed(good("evil type")))
            .unwrap()
            .replace("type=\"word-count\"", "type=\"a&#13;&#10;b\""),
        String::from_utf8(rogue.signed(good("evil user"))).unwrap().replace("user=\"admin\"", "user=\"admin&#10;x\""),
        String::from_utf8(rogue.signed(good("evil path")))
            .unwrap()
            .replace("type=\"word-count\"", "type=\"../../etc\""),
    ];
    for bomb in &bombs {
        scene.refuses("a bomb", "malformed", 9, bomb.as_bytes()).await;
    }
    // Too large: the frame itself is none.
    let before = scene.refused("malformed");
    assert_ne!(rogue.send(victim, &[(9, &vec![b'x'; 1_500_000])]).await, Some(0));
    assert_eq!(scene.refused("malformed"), before + 1);

    // Rights: a user there is not, none at all, an agents' own type, an answer to nothing.
    let mut of_nobody = good("denied nobody");
    of_nobody.from.user = Some("nobody-knows".parse().unwrap());
    let mut without = good("denied without");
    without.from.user = None;
    let mut own_type = good("denied own type");
    own_type.kind = "shoal.directory".parse().unwrap();
    let mut answer = good("denied answer");
    answer.in_reply_to = Some(MessageId([7; 16]));
    for (index, message) in [of_nobody, without, own_type, answer].into_iter().enumerate() {
        let before = scene.refused("not_permitted");
        assert_eq!(rogue.send(victim, &[(9, &rogue.signed(message))]).await, Some(0), "case {index}");
        wait_until("it to be refused", DEADLINE, || Ok((scene.refused("not_permitted") > before).then_some(())))
            .unwrap();
    }

    assert_eq!(scene.logged("evil"), 0, "nothing of all that is kept");
    let denied = scene.agents[1].json(&["log", "--direction", "received", "--text", "denied"]).unwrap();
    let states = denied["entries"].as_array().unwrap().iter().map(|entry| entry["states"][0]["state"].clone());
    assert!(states.into_iter().all(|state| state == "refused"), "{denied}");

    // The same message again and again is handled once.
    let again = rogue.signed(good("only once"));
    for _ in 0..20 {
        assert_eq!(rogue.send(victim, &[(9, &again), (9, &again)]).await, Some(0));
    }
    wait_until("it to be handled", DEADLINE, || Ok((scene.logged("only once") == 1).then_some(()))).unwrap();
    let handed = scene.agents[1].json(&["log", "--direction", "relayed", "--text", "only once"]).unwrap();
    assert_eq!(handed["entries"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_member_any_more_gets_nothing_in() {
    let scene = scene().await;
    let (rogue, victim) = (&scene.rogue, scene.victim);
    assert_eq!(rogue.send(victim, &[(9, &rogue.signed(rogue.message(victim, "still a member")))]).await, Some(0));
    let output = scene.agents[0].shoal(&["node", "remove", &rogue.agent.to_string(), "--force"]).expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let deadline = Instant::now() + DEADLINE;
    let text = "of an ex-member";
    // An answer that says no would do as well, but there is none at all: the connection is closed.
    while rogue.send(victim, &[(9, &rogue.signed(rogue.message(victim, text)))]).await == Some(0) {
        assert!(Instant::now() < deadline, "an ex-member is still heard");
    }
    let before = scene.logged(text);
    for _ in 0..5 {
        assert_eq!(rogue.send(victim, &[(9, &rogue.signed(rogue.message(victim, text)))]).await, None);
    }
    assert_eq!(scene.logged(text), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_fills_no_memory_and_others_are_served() {
    const FLOOD: Duration = Duration::from_secs(10);
    const GROWTH_LIMIT_KIB: u64 = 150 * 1024;
    let scene = scene().await;
    let (rogue, victim) = (Arc::new(scene.rogue), scene.victim);
    let resident_kib = |pid: u32| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the victim lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let pid = scene.agents[1].pid();
    let before_kib = resident_kib(pid);
    let until = Instant::now() + FLOOD;
    let flooders: Vec<_> = (0..32)
        .map(|number| {
            let rogue = rogue.clone();
            tokio::spawn(async move {
                let large = "x".repeat(200_000);
                while Instant::now() < until {
                    // Right ones, wrong ones and large ones, none of which wait for the ones before.
                    let right: Vec<Vec<u8>> = (0..50)
                        .map(|one| rogue.signed(rogue.message(victim, &format!("flood {number} {one}"))))
                        .collect();
                    let mut copies: Vec<(u8, &[u8])> = right.iter().map(|xml| (9, xml.as_slice())).collect();
                    let big = rogue.signed(rogue.message(victim, &large));
                    copies.push((9, &big));
                    copies.push((9, b"<message>"));
                    let _ = rogue.send(victim, &copies).await;
                    let _ = rogue.ping(victim).await;
                }
            })
        })
        .collect();
    let there = scene.agents[1].json(&["peerlet", "list"]).unwrap()["name"].as_str().unwrap().to_owned();
    let mut served = 0;
    let (mut most_kib, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < until {
        let begin = Instant::now();
        let call = format!(
            "{{\"type\":\"word-count\",\"to\":{{\"agents\":[\"{there}\"]}},\"text\":\"served {served}\",\"timeout_s\":30}}"
        );
        let headers = [("content-type", "application/json")];
        let answer =
            scene.agents[0].api().request("POST", "/api/v1/requests", &headers, call.as_bytes()).expect("an answer");
        assert!(
            String::from_utf8_lossy(&answer.body).contains("\"handled\""),
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        slowest = slowest.max(begin.elapsed());
        served += 1;
        most_kib = most_kib.max(resident_kib(pid));
    }
    for flooder in flooders {
        flooder.await.expect("a flooder ends");
    }
    println!("served {served} beside the flood, slowest {slowest:?}; {before_kib} KiB before, {most_kib} KiB at most");
    assert!(served > 0);
    assert!(most_kib < before_kib + GROWTH_LIMIT_KIB, "{before_kib} KiB before, {most_kib} KiB at most");
}
