//! The directory between real agents: which agent has which peerlets and is online, the same wherever one asks (D6); and what
//! its agent did not sign changes nothing.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

#[allow(dead_code, reason = "each test file uses its part")]
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::directory::{DirectoryMessage, Offer, PeerletMode, PeerletOffer, offer_message};
use dci_proto::message::{Envelope, signed_bytes};
use dci_proto::{AgentId, MessageId};
use harness::Folder;
use serde_json::Value;
use shoal_net::{Lane, Request, Response};
use shoal_testkit::{AgentProcess, free_port_base, start_pool, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);
/// The number of words of the directory between agents.
const DIRECTORY_METHOD: u16 = 25;

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../peerlets/examples").join(name);
    folder.to_str().unwrap().to_owned()
}

/// An agent a line: its name, whether it is online, and those of the two example peerlets that it has.
fn lines(directory: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |agent: &Value| {
        let mut words = vec![text(&agent["name"]), if agent["online"] == true { "online" } else { "away" }.to_owned()];
        for peerlet in agent["peerlets"].as_array().into_iter().flatten() {
            if ["word-count", "greet"].contains(&text(&peerlet["type"]).as_str()) {
                words.extend([text(&peerlet["type"]), text(&peerlet["version"])]);
            }
        }
        words.join(" ")
    };
    directory["agents"].as_array().into_iter().flatten().map(line).collect()
}

/// Waits until an agent's directory says this.
fn wait_for(agent: &AgentProcess, what: &str, wanted: &[&str]) {
    let mut last = Value::Null;
    let waited = wait_until(what, DEADLINE, || {
        last = agent.json(&["peerlets"])?;
        Ok((lines(&last) == wanted).then_some(()))
    });
    waited.unwrap_or_else(|error| panic!("{error}; the last answer: {last:#}"));
}

#[test]
fn every_agent_knows_which_peerlets_run_where_and_who_is_online() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port_base(30).expect("ports");
    let mut agents =
        start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder.path(), port, 3, |_| Ok(())).expect("a pool");
    agents[2].json(&["peerlet", "add", &example("word-count")]).expect("installed");
    agents[1].json(&["peerlet", "add", &example("greet")]).expect("installed");
    let wanted = ["agent-0 online", "agent-1 online greet 1.0.0", "agent-2 online word-count 1.0.0"];
    for agent in &agents {
        wait_for(agent, "all three to know who has what", &wanted);
    }
    // Each knows how busy the others are, too.
    let busy = wait_until("all three to say how busy they are", DEADLINE, || {
        let directory = agents[0].json(&["peerlets"])?;
        let busy: Option<Vec<u64>> =
            directory["agents"].as_array().into_iter().flatten().map(|agent| agent["busy_permille"].as_u64()).collect();
        Ok(busy)
    });
    let busy = busy.expect("they say it");
    assert!(busy.len() == 3 && busy.iter().all(|busy| *busy <= 1_000), "{busy:?}");
    // A person sees it as a table.
    let table = agents[0].shoal(&["peerlets"]).expect("a table");
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    let row = table.lines().find(|line| line.contains("word-count")).unwrap_or_else(|| panic!("{table}"));
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[..5], ["agent-2", "yes", "word-count", "1.0.0", "oneshot"], "{table}");
    assert!(row.contains("Counts the lines"), "{table}");

    // A newer version, and one that goes.
    let newer = folder.path().join("newer");
    copy(Path::new(&example("word-count")), &newer, "1.0.0", "1.1.0");
    agents[2].json(&["peerlet", "add", newer.to_str().unwrap()]).expect("replaced");
    assert!(agents[1].shoal(&["peerlet", "remove", "greet"]).expect("asked").status.success());
    let wanted = ["agent-0 online", "agent-1 online", "agent-2 online word-count 1.1.0"];
    wait_for(&agents[0], "the changes to be known", &wanted);

    // One that is away is still known; what changed meanwhile it learns when it is back.
    let away = agents.pop().expect("the third").kill().expect("killed");
    agents[1].json(&["peerlet", "add", &example("greet")]).expect("installed");
    let wanted = ["agent-0 online", "agent-1 online greet 1.0.0", "agent-2 away word-count 1.1.0"];
    wait_for(&agents[0], "the third to be away", &wanted);
    let back = AgentProcess::start(away).expect("it comes back");
    let wanted = ["agent-0 online", "agent-1 online greet 1.0.0", "agent-2 online word-count 1.1.0"];
    wait_for(&back, "the third to know what changed", &wanted);
    wait_for(&agents[0], "the third to be there again", &wanted);

    // Who is a member no more is in nobody's directory.
    drop(back);
    let removed = agents[0].shoal(&["node", "remove", "agent-2", "--force", "--yes"]).expect("asked");
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    for agent in &agents {
        wait_for(agent, "the third to be forgotten", &["agent-0 online", "agent-1 online greet 1.0.0"]);
    }
}

fn copy(from: &Path, to: &Path, old: &str, new: &str) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let text = std::fs::read_to_string(entry.path()).expect("reads");
        std::fs::write(to.join(entry.file_name()), text.replace(old, new)).expect("writes");
    }
}

fn evil(agent: AgentId, signed_by: Option<&[u8; 32]>) -> Arc<Envelope> {
    let peerlet = PeerletOffer {
        kind: "evil".parse().unwrap(),
        version: "6.6.6".into(),
        mode: PeerletMode::Oneshot,
        description: "What nobody offers".into(),
        executes: false,
    };
    // Later than any clock says: were it believed, it would stay.
    let message =
        offer_message(MessageId([6; 16]), agent, 250_000_000_000_000, &Offer::new("6.6.6", [peerlet])).unwrap();
    let signature = signed_by.map(|seed| shoal_net::sign(seed, &signed_bytes(&message)).unwrap());
    let signature = signature.map_or([6; 64], |signature| signature.try_into().unwrap());
    Arc::new(Envelope { message, ttl: 0, signature })
}

/// The types that an agent of this process knows each agent to have, by `shoal peerlets`.
async fn known(data: PathBuf) -> Vec<(String, Vec<String>)> {
    let asked = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_shoal")).arg("--data").arg(data).args(["peerlets", "--json"]).output()
    });
    let output = asked.await.unwrap().expect("runs");
    let directory: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let agents = directory["agents"].as_array().cloned().unwrap_or_default();
    let heard = agents.iter().filter(|agent| agent["version"].is_string());
    let types =
        |agent: &Value| agent["peerlets"].as_array().unwrap().iter().map(|one| one["type"].to_string()).collect();
    heard.map(|agent| (agent["name"].as_str().unwrap().to_owned(), types(agent))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_agent_did_not_sign_changes_nothing() {
    let folder = Folder::new();
    let agents = folder.pool(2).await;
    let (victim, hostile) = (agents[0].context(), agents[1].context());
    let data = victim.config.data.clone();
    let expected = vec![("agent-0".to_owned(), vec![]), ("agent-1".to_owned(), vec![])];
    harness::wait_for("both to be known", async || known(data.clone()).await == expected).await;

    let (seed, other_seed) = ([9; 32], [8; 32]);
    let stranger = shoal_net::agent_id_of_seed(&seed).unwrap();
    let offers = vec![
        evil(victim.agent, None),
        evil(victim.agent, Some(&seed)),
        evil(hostile.agent, None),
        evil(hostile.agent, Some(&other_seed)),
        evil(stranger, Some(&seed)),
    ];
    let say = async |body: Bytes| -> Response {
        let request = Request { method: DIRECTORY_METHOD, head: Bytes::new(), body };
        hostile.network.call(victim.agent, Lane::Foreground, request, Duration::from_secs(10)).await.expect("an answer")
    };
    let mut taken = 0;
    // Its own agent speaks with the victim as well: it is told to wait now and then.
    harness::wait_for("the forged offers to be heard", async || {
        for answer in [true, false] {
            let word = DirectoryMessage::Offers { offers: offers.clone(), answer };
            taken += u32::from(say(postcard::to_stdvec(&word).unwrap().into()).await.status == 0);
        }
        taken >= 4
    })
    .await;
    assert_eq!(known(data.clone()).await, expected);
    for garbage in [&b""[..], b"\xff\xff\xff\xff", &[5; 1000], &vec![0; 300 * 1024]] {
        assert_ne!(say(Bytes::copy_from_slice(garbage)).await.status, 0, "{} bytes", garbage.len());
    }
    // It is still served.
    let digest = DirectoryMessage::Digest(vec![[1; 8]; 16]);
    harness::wait_for("a word to be taken", async || {
        say(postcard::to_stdvec(&digest).unwrap().into()).await.status == 0
    })
    .await;
    assert_eq!(known(data).await, expected);
}
