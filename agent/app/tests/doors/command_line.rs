//! `shoal request` and `shoal log --follow`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use shoal_testkit::{AgentProcess, HttpClient};

use crate::common::{DEADLINE, Pool, add, said};
use crate::plain::api_address;

/// How long `shoal request` waits unless it is told.
const USUAL_TIMEOUT: Duration = Duration::from_secs(60);

fn lines(text: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = String::from_utf8_lossy(text)
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_request_prints_what_each_answers_and_ends_well_only_if_all_did() {
    let pool = Pool::start(&["office-pc", "lab-2"], &["word-count", "greet"]);
    let agent = &pool.agents[0];
    // One recipient: its answer as it is.
    let output = agent.shoal(&["request", "word-count", "--on", "lab-2", "one two three"]).expect("runs");
    assert_eq!(
        (output.status.code(), lines(&output.stdout)),
        (Some(0), vec!["0 3 13".to_owned()]),
        "{}",
        said(&output)
    );
    // Several: each line after the name.
    let output = agent.shoal(&["request", "word-count", "--all", "one two"]).expect("runs");
    let expected = ["lab-2: 0 2 7", "office-pc: 0 2 7"].map(str::to_owned);
    assert_eq!((output.status.code(), lines(&output.stdout)), (Some(0), expected.to_vec()), "{}", said(&output));
    // One of them has no such peerlet any more.
    assert!(agent.shoal(&["peerlet", "remove", "greet"]).expect("runs").status.success());
    let output = agent.shoal(&["request", "greet", "--all", "Bo"]).expect("runs");
    assert_eq!(output.status.code(), Some(14), "{}", said(&output));
    assert_eq!(lines(&output.stdout), ["lab-2: Hello Bo, says admin"]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("office-pc: refused: "), "{complaint}");
    assert!(complaint.contains("1 of 2 did not handle it"), "{complaint}");
    // With --json each event is a line.
    let output = agent.shoal(&["request", "word-count", "--on", "lab-2", "x", "--json"]).expect("runs");
    let events: Vec<Value> =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let names: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"sent"), Some(&"done")), "{events:?}");
    assert!(names.contains(&"reply") && names.contains(&"state"), "{events:?}");
    assert_eq!(events.last().unwrap()["finished"], true);
    // Nobody is named.
    let output = agent.shoal(&["request", "word-count", "x"]).expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn a_request_to_who_is_away_ends_when_its_time_is_over() {
    let mut pool = Pool::start(&["office-pc", "lab-2"], &["word-count"]);
    let _ = pool.agents.remove(1).kill().expect("killed");
    let asked = ["request", "word-count", "--on", "lab-2", "x", "--timeout", "2s"];
    let output = pool.agents[0].shoal(&asked).expect("runs");
    assert_eq!(output.status.code(), Some(14), "{}", said(&output));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("lab-2: waiting") && complaint.contains("the time to wait was over"), "{complaint}");
}

#[test]
fn who_asks_is_told_why_a_program_failed_and_what_never_arrives_is_not_waited_for() {
    let pool = Pool::start(&["office-pc", "lab-2"], &["word-count"]);
    let broken = pool.folder.path().join("broken");
    std::fs::create_dir(&broken).expect("made");
    let manifest = "type = \"broken\"\nversion = \"1.0.0\"\ndescription = \"Fails\"\nmode = \"oneshot\"\n\
                    command = [\"sh\", \"-c\", \"echo half an answer; echo no such table: fish >&2; exit 3\"]\n";
    std::fs::write(broken.join("peerlet.toml"), manifest).expect("written");
    add(&pool.agents[1], &broken);
    let agent = &pool.agents[0];
    let output = agent.shoal(&["request", "broken", "--on", "lab-2", "x"]).expect("runs");
    assert_eq!(output.status.code(), Some(14), "{}", said(&output));
    assert_eq!(lines(&output.stdout), ["half an answer"]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("lab-2: handled, status 3: no such table: fish"), "{complaint}");
    assert!(complaint.contains("1 of 1 handled it and failed"), "{complaint}");
    // What it said is for who sent the message, and for who tends the pool.
    let entries = agent.json(&["log", "--type", "broken", "--direction", "sent"]).expect("the log");
    let path = format!("/api/v1/messages/{}", entries["entries"][0]["id"].as_str().expect("an id"));
    let password = agent.json(&["user", "add", "vera", "--role", "viewer"]).expect("a user")["password"].clone();
    let mut vera = HttpClient::new(api_address(agent), "vera", password.as_str().expect("a password"), DEADLINE);
    for (client, expected) in [(&mut vera, None), (&mut agent.api(), Some("no such table: fish"))] {
        let answer = client.request("GET", &path, &[], b"").expect("an answer").expect(&[200]).expect("its states");
        let states: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let state = &states["recipients"][0];
        assert_eq!((state["exit_status"].as_i64(), state["why"].as_str()), (Some(3), expected), "{states}");
    }

    // Its hops are used up before it leaves.
    let begun = Instant::now();
    let output = agent.shoal(&["request", "word-count", "--on", "lab-2", "x", "--ttl", "0"]).expect("runs");
    assert_eq!(output.status.code(), Some(14), "{}", said(&output));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("lab-2: expired: its hops were used up"), "{complaint}");
    assert!(begun.elapsed() < USUAL_TIMEOUT, "it took {:?}", begun.elapsed());
}

/// A program that prints until it is killed.
struct Follower {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn start(agent: &AgentProcess, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal"));
        command.args(arguments).arg("--data").arg(agent.data()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    /// The next line that has all of this in it. If none comes, the agent ends with the test.
    fn line_with(&mut self, wanted: &[&str]) -> String {
        loop {
            let line = self.lines.next().expect("it goes on").expect("a line");
            if wanted.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_log_is_followed_from_what_is_there_to_what_comes() {
    let pool = Pool::start(&["office-pc", "lab-2"], &["word-count"]);
    let agent = &pool.agents[0];
    agent.shoal(&["request", "word-count", "--on", "lab-2", "what was before"]).expect("runs");
    let mut follower = Follower::start(agent, &["log", "--follow", "--type", "word-count"]);
    let mut machine = Follower::start(agent, &["log", "--follow", "--type", "word-count", "--json"]);
    follower.line_with(&["PLACE", "WHEN", "STATE"]);
    follower.line_with(&["sent", "what was before"]);
    machine.line_with(&["\"event\":\"entry\"", "what was before"]);
    // Others are not told.
    agent.shoal(&["request", "greet", "--on", "lab-2", "a stranger"]).expect("runs");
    agent.shoal(&["request", "word-count", "--on", "lab-2", "what came then"]).expect("runs");
    let sent = follower.line_with(&["sent", ""]);
    assert!(sent.contains("what came then"), "{sent}");
    follower.line_with(&["lab-2: handled"]);
    let entry: Value =
        serde_json::from_str(&machine.line_with(&["\"event\":\"entry\"", "what came then"])).expect("JSON");
    assert_eq!((entry["direction"].as_str(), entry["type"].as_str()), (Some("sent"), Some("word-count")));
    machine.line_with(&["\"event\":\"state\"", "\"state\":\"handled\""]);
}
