//! Chat between real agents: rooms and one-to-one, history for who joins later, ticks, presence, the terminal (D7).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use shoal_testkit::{AgentOptions, AgentProcess, HttpClient, free_port_base, process, start_pool, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "a password of some length";

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_shoal"))
}

/// So many agents, with the users ana, bob and eve, and vic who may only look.
fn pool(folder: &Path, count: u16, room_for: u16) -> (Vec<AgentProcess>, u16) {
    let port = free_port_base(10 * room_for).expect("ports");
    let agents = start_pool(binary(), folder, port, count, |_| Ok(())).expect("a pool");
    for (name, role) in [("ana", "user"), ("bob", "user"), ("eve", "user"), ("vic", "viewer")] {
        let change = json!({ "role": role, "password": PASSWORD, "only_new": true });
        call(&mut agents[0].api(), "PUT", &format!("users/{name}"), &change, 200);
    }
    for agent in &agents {
        wait_until("the users to be known everywhere", DEADLINE, || {
            let answer = agent.api().request("GET", "/api/v1/users", &[], b"")?;
            Ok(String::from_utf8_lossy(&answer.body).contains("vic").then_some(()))
        })
        .expect("users");
    }
    (agents, port)
}

fn joined(first: &AgentProcess, folder: &Path, port: u16, number: u16) -> AgentProcess {
    AgentProcess::start(AgentOptions {
        binary: binary().to_owned(),
        data: folder.join(format!("agent-{number}")),
        port: port + 10 * number,
        ticket: Some(first.invite(&[]).expect("a ticket")),
        arguments: Vec::new(),
    })
    .expect("joins")
}

fn at(agent: &AgentProcess, user: &str) -> HttpClient {
    let address = SocketAddr::from(([127, 0, 0, 1], agent.options().port + 1));
    HttpClient::new(address, user, PASSWORD, Duration::from_secs(20))
}

fn call(client: &mut HttpClient, method: &str, path: &str, body: &Value, status: u16) -> Value {
    let headers = [("Content-Type", "application/json")];
    let bytes = if method == "GET" { Vec::new() } else { body.to_string().into_bytes() };
    let answer = client.request(method, &format!("/api/v1/{path}"), &headers, &bytes).expect("an answer");
    let answer = answer.expect(&[status]).unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

fn get(client: &mut HttpClient, path: &str) -> Value {
    call(client, "GET", path, &Value::Null, 200)
}

fn say(client: &mut HttpClient, place: &str, text: &str) -> String {
    let said = call(client, "POST", &format!("chat/{place}"), &json!({ "text": text }), 200);
    said["id"].as_str().expect("an id").to_owned()
}

/// What was said in a conversation.
fn texts(client: &mut HttpClient, place: &str) -> Vec<String> {
    let history = get(client, &format!("chat/{place}"));
    let entries = history["entries"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["text"].as_str().unwrap_or_default().to_owned()).collect()
}

fn wait_for_texts(client: &mut HttpClient, place: &str, wanted: &[&str]) {
    wait_until(&format!("{wanted:?} in {place}"), DEADLINE, || Ok((texts(client, place) == wanted).then_some(())))
        .expect("what was said");
}

fn unread(client: &mut HttpClient, kind: &str, name: &str) -> u64 {
    let list = get(client, "chat/rooms");
    let found = list["conversations"].as_array().unwrap().iter().find(|one| one[kind] == name).cloned();
    found.and_then(|one| one["unread"].as_u64()).unwrap_or(0)
}

#[test]
fn rooms_are_apart_ticks_are_counted_and_who_joins_later_has_the_history() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut agents, port) = pool(folder.path(), 2, 3);
    let (mut ana, mut bob) = (at(&agents[0], "ana"), at(&agents[1], "bob"));
    let first = say(&mut ana, "rooms/lobby", "Tea at four?");
    say(&mut ana, "rooms/lab", "The <laser> is & stays \"off\"");
    wait_for_texts(&mut bob, "rooms/lobby", &["Tea at four?"]);
    wait_for_texts(&mut bob, "rooms/lab", &["The <laser> is & stays \"off\""]);
    assert_eq!((unread(&mut bob, "room", "lobby"), unread(&mut bob, "room", "lab")), (1, 1));
    // Who answers has read, in that room only.
    say(&mut bob, "rooms/lobby", "Gladly\nwith cake");
    wait_for_texts(&mut ana, "rooms/lobby", &["Tea at four?", "Gladly\nwith cake"]);
    assert_eq!((unread(&mut bob, "room", "lobby"), unread(&mut bob, "room", "lab")), (0, 1));
    assert_eq!(unread(&mut ana, "room", "lobby"), 1);
    let seen_ms = get(&mut ana, "chat/rooms/lobby")["entries"][1]["sent_ms"].clone();
    call(&mut ana, "POST", "chat/rooms/lobby/seen", &json!({ "until_ms": seen_ms }), 200);
    assert_eq!(unread(&mut ana, "room", "lobby"), 0);
    // Where it was said one sees on how many agents it is.
    let tick = |client: &mut HttpClient, wanted: Value| {
        wait_until(&format!("ticks {wanted}"), DEADLINE, || {
            let history = get(client, "chat/rooms/lobby");
            let entries = history["entries"].as_array().cloned().unwrap_or_default();
            let entry = entries.into_iter().find(|entry| entry["id"] == first.as_str()).unwrap_or_default();
            Ok((entry["tick"] == wanted).then_some(()))
        })
        .expect("ticks");
    };
    tick(&mut ana, json!({ "got": 2, "of": 2 }));
    assert!(get(&mut bob, "chat/rooms/lobby")["entries"][0].get("tick").is_none());
    // Who joins later.
    let late = joined(&agents[0], folder.path(), port, 2);
    let mut eve = at(&late, "eve");
    wait_until("the late agent to know eve", DEADLINE, || {
        Ok((eve.request("GET", "/api/v1/self", &[], b"")?.status == 200).then_some(()))
    })
    .expect("eve signs in");
    wait_for_texts(&mut eve, "rooms/lobby", &["Tea at four?", "Gladly\nwith cake"]);
    tick(&mut ana, json!({ "got": 3, "of": 3 }));
    // What was said, and seen, outlives a restart.
    let options = agents.remove(0).kill().expect("killed");
    let _back = AgentProcess::start(options).expect("it comes back");
    wait_until("ana to sign in again", DEADLINE, || {
        Ok(ana.request("GET", "/api/v1/self", &[], b"").is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .expect("ana signs in");
    wait_for_texts(&mut ana, "rooms/lobby", &["Tea at four?", "Gladly\nwith cake"]);
    assert_eq!(unread(&mut ana, "room", "lobby"), 0);
}

#[test]
fn what_is_said_between_two_no_third_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (agents, _) = pool(folder.path(), 2, 2);
    let (mut ana, mut bob) = (at(&agents[0], "ana"), at(&agents[1], "bob"));
    say(&mut ana, "with/bob", "only between us");
    wait_for_texts(&mut bob, "with/ana", &["only between us"]);
    say(&mut bob, "with/ana", "quite");
    wait_for_texts(&mut ana, "with/bob", &["only between us", "quite"]);
    assert_eq!((unread(&mut ana, "with", "bob"), unread(&mut bob, "with", "ana")), (1, 0));
    for agent in &agents {
        for third in [&mut at(agent, "eve"), &mut agent.api()] {
            assert!(texts(third, "with/ana").is_empty() && texts(third, "with/bob").is_empty());
            let list = get(third, "chat/rooms").to_string();
            assert!(!list.contains("between us") && !list.contains("quite"), "{list}");
        }
        let mut eve = at(agent, "eve");
        assert!(!get(&mut eve, "log?type=chat").to_string().contains("between us"));
        // Only the token of the agent's own computer speaks for others.
        call(&mut eve, "GET", "chat/with/bob?as=ana", &Value::Null, 400);
        call(&mut eve, "POST", "chat/rooms/lobby", &json!({ "text": "x", "as": "ana" }), 400);
    }
    let mut vic = at(&agents[0], "vic");
    call(&mut vic, "GET", "chat/rooms", &Value::Null, 403);
    call(&mut vic, "POST", "chat/rooms/lobby", &json!({ "text": "x" }), 403);
    call(&mut ana, "POST", "chat/with/nobody", &json!({ "text": "x" }), 404);
    for bad in [json!({ "text": " \n" }), json!({ "text": "x".repeat(8_001) }), json!({ "text": "a\u{1b}[2J" })] {
        call(&mut ana, "POST", "chat/rooms/lobby", &bad, 400);
    }
    call(&mut ana, "POST", "chat/rooms/No%20Room", &json!({ "text": "x" }), 400);
}

/// `shoal chat` as a process, and what it printed.
struct Terminal {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Terminal {
    fn open(agent: &AgentProcess, user: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["chat", "--user", user, "--data"]).arg(agent.data()).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("shoal chat");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                kept.lock().expect("not poisoned").push(line);
            }
        });
        Self { child, stdin, lines }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("open"), "{line}").expect("typed");
    }

    fn wait_for(&self, text: &str) -> String {
        wait_until(&format!("{text:?} in the terminal"), DEADLINE, || {
            let lines = self.lines.lock().expect("not poisoned");
            Ok(lines.iter().find(|line| line.contains(text)).cloned())
        })
        .unwrap_or_else(|error| panic!("{error:#}: {:?}", self.lines.lock().expect("not poisoned")))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_terminals_talk_in_two_rooms_and_see_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (agents, _) = pool(folder.path(), 2, 2);
    say(&mut at(&agents[0], "ana"), "rooms/lab", "said before");
    let mut bob = Terminal::open(&agents[1], "bob", &["lab"]);
    bob.wait_for("ana: said before");
    let mut ana = Terminal::open(&agents[0], "ana", &["lab"]);
    ana.wait_for("── lab ──");
    bob.wait_for("ana is here");
    ana.wait_for("bob");
    ana.type_line("hello from here");
    let line = bob.wait_for("ana: hello from here");
    assert!(line.as_bytes().get(2) == Some(&b':'), "{line}");
    ana.wait_for("✓ on 2 of 2 agents");
    // Another room, and one to one, are told of meanwhile.
    bob.type_line("/join lobby");
    bob.wait_for("── lobby ──");
    bob.type_line("in the lobby");
    ana.wait_for("[lobby] bob: in the lobby");
    bob.type_line("/with ana");
    bob.wait_for("── with ana ──");
    bob.type_line("//not a command");
    ana.wait_for("[only to you] bob: /not a command");
    bob.type_line("/rooms");
    bob.wait_for("with ana ← you are here");
    bob.type_line("/dance");
    bob.wait_for("/dance is no command");
    bob.type_line("/quit");
    let ended = wait_until("the terminal to end", DEADLINE, || Ok(bob.child.try_wait()?)).expect("it ends");
    assert!(ended.success());
    ana.type_line("/who");
    ana.wait_for("ana (lab)");
}

#[test]
fn a_script_says_what_it_reads_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let (agents, _) = pool(folder.path(), 1, 1);
    let mut script = Terminal::open(&agents[0], "ana", &["--json", "lab"]);
    script.type_line("one");
    script.type_line("two");
    drop(script.stdin.take());
    let ended = wait_until("the script to end", DEADLINE, || Ok(script.child.try_wait()?)).expect("it ends");
    assert!(ended.success());
    let event: Value = serde_json::from_str(&script.wait_for("\"two\"")).expect("a line of JSON");
    assert_eq!(
        (&event["event"], &event["room"], &event["entry"]["user"]),
        (&json!("said"), &json!("lab"), &json!("ana"))
    );
    assert_eq!(texts(&mut at(&agents[0], "ana"), "rooms/lab"), ["one", "two"]);
}

/// Kills a peerlet's program, which an agent has started by way of its launcher.
fn kill_program(agent: &AgentProcess, kind: &str) {
    let wanted = format!("\0peerlet-program\0{kind}\0");
    let line = |process: u32| fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let all = process::with_descendants(&[agent.pid()]);
    let programs: Vec<u32> = all.into_iter().filter(|process| line(*process).ends_with(&wanted)).collect();
    let [program] = programs[..] else { panic!("{programs:?} run {kind}") };
    let pid = i32::try_from(program).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    wait_until("it to be gone", DEADLINE, || Ok((!line(program).ends_with(&wanted)).then_some(()))).expect("gone");
}

#[test]
fn programs_ask_the_peerlet() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut agents, _) = pool(folder.path(), 2, 2);
    let (mut ana, there) = (at(&agents[0], "ana"), agents[1].json(&["peerlet", "list"]).expect("peerlets"));
    say(&mut ana, "rooms/lab", "for programs");
    wait_for_texts(&mut at(&agents[1], "bob"), "rooms/lab", &["for programs"]);
    let xml = "<history xmlns='urn:shoal:chat:1' room='lab' last='5'/>";
    let ask = |xml: &str| json!({ "type": "chat", "to": { "agents": [there["name"]] }, "xml": xml, "timeout_s": 30 });
    let ask_for = |client: &mut HttpClient, xml: &str| {
        let headers = [("Content-Type", "application/json")];
        let answer = client.request("POST", "/api/v1/requests", &headers, ask(xml).to_string().as_bytes());
        String::from_utf8(answer.expect("an answer").body).expect("text")
    };
    // The peerlet is given messages in their order, of one session at a time: it may hear of the question first.
    wait_until("the peerlet to know it", DEADLINE, || {
        Ok(ask_for(&mut ana, xml).contains("for programs").then_some(()))
    })
    .expect("an answer");
    // One that is killed knows all of it again, and so does that of an agent that is.
    kill_program(&agents[1], "chat");
    wait_until("the next one to answer", DEADLINE, || {
        Ok(ask_for(&mut ana, xml).contains("for programs").then_some(()))
    })
    .expect("an answer");
    let options = agents.remove(1).kill().expect("killed");
    agents.push(AgentProcess::start(options).expect("it comes back"));
    wait_until("one after a restart to answer", DEADLINE, || {
        Ok(ask_for(&mut ana, xml).contains("for programs").then_some(()))
    })
    .expect("an answer");
    let refused = ask_for(&mut ana, "<shout xmlns='urn:shoal:chat:1'/>");
    assert!(refused.contains("\"exit_status\":2") && refused.contains("another element"), "{refused}");
}
