//! Whiteboards between real agents: drawn at one, seen at all, by who joins later too, and taken along as a picture (D7).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use shoal_testkit::{AgentOptions, AgentProcess, HttpClient, free_port_base, start_pool, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "a password of some length";

fn api_address(agent: &AgentProcess) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], agent.options().port + 1))
}

fn at(agent: &AgentProcess, user: &str) -> HttpClient {
    HttpClient::new(api_address(agent), user, PASSWORD, Duration::from_secs(20))
}

fn call(client: &mut HttpClient, method: &str, path: &str, body: &Value, status: u16) -> Value {
    let headers = [("Content-Type", "application/json")];
    let bytes = if method == "GET" { Vec::new() } else { body.to_string().into_bytes() };
    let answer = client.request(method, &format!("/api/v1/{path}"), &headers, &bytes).expect("an answer");
    let answer = answer.expect(&[status]).unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

fn act(client: &mut HttpClient, board: &str, what: &Value) -> String {
    let done = call(client, "POST", &format!("boards/{board}"), what, 200);
    done["line"].as_str().expect("a line").to_owned()
}

fn stroke(colour: &str, points: &[(u16, u16)], line: Option<&str>) -> Value {
    let mut stroke = json!({ "colour": colour, "width": 4, "points": points });
    if let Some(line) = line {
        stroke["line"] = line.into();
    }
    json!({ "stroke": stroke })
}

/// The colours of what is to be seen, the lowest first.
fn colours(client: &mut HttpClient, board: &str) -> Vec<String> {
    let board = call(client, "GET", &format!("boards/{board}"), &Value::Null, 200);
    let shapes = board["shapes"].as_array().cloned().unwrap_or_default();
    shapes.iter().map(|shape| shape["colour"].as_str().unwrap_or_default().to_owned()).collect()
}

fn wait_for_colours(client: &mut HttpClient, board: &str, wanted: &[&str]) {
    wait_until(&format!("{wanted:?} on {board}"), DEADLINE, || Ok((colours(client, board) == wanted).then_some(())))
        .expect("what was drawn");
}

fn svg(client: &mut HttpClient, board: &str) -> String {
    let answer = client.request("GET", &format!("/api/v1/boards/{board}/svg"), &[], b"").expect("an answer");
    let answer = answer.expect(&[200]).expect("a picture");
    assert_eq!(answer.header("content-type"), Some("image/svg+xml; charset=utf-8"));
    String::from_utf8(answer.body).expect("text")
}

/// The names of events as they come.
fn events(agent: &AgentProcess, user: &str, board: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = TcpStream::connect(api_address(agent)).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{PASSWORD}"));
    write!(
        stream,
        "GET /api/v1/boards/{board}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\r\n"
    )
    .expect("asked");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("an event before the deadline"));
    lines.filter_map(|line| line.strip_prefix("event: ").map(str::to_owned))
}

#[test]
fn everybody_sees_the_same_board_also_who_joins_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port_base(30).expect("ports");
    let binary = Path::new(env!("CARGO_BIN_EXE_shoal"));
    let mut agents = start_pool(binary, folder.path(), port, 2, |_| Ok(())).expect("a pool");
    for (name, role) in [("ana", "user"), ("bob", "user"), ("vic", "viewer")] {
        let change = json!({ "role": role, "password": PASSWORD, "only_new": true });
        call(&mut agents[0].api(), "PUT", &format!("users/{name}"), &change, 200);
    }
    let (mut ana, mut bob) = (at(&agents[0], "ana"), at(&agents[1], "bob"));
    wait_until("bob to be known at the second agent", DEADLINE, || {
        Ok((bob.request("GET", "/api/v1/self", &[], b"")?.status == 200).then_some(()))
    })
    .expect("bob signs in");
    let mut live = events(&agents[1], "bob", "plan");
    assert_eq!(live.next().as_deref(), Some("ready"));

    // Two parts of one line, and one of somebody else; another board has none of it.
    let line = act(&mut ana, "plan", &stroke("#e03131", &[(10, 10), (20, 20)], None));
    assert_eq!(live.next().as_deref(), Some("drawn"));
    act(&mut ana, "plan", &stroke("#2f9e44", &[(20, 20), (30, 10)], Some(&line)));
    wait_for_colours(&mut bob, "plan", &["#e03131", "#2f9e44"]);
    act(&mut bob, "plan", &stroke("#1971c2", &[(5, 5)], None));
    wait_for_colours(&mut ana, "plan", &["#e03131", "#2f9e44", "#1971c2"]);
    assert!(colours(&mut ana, "main").is_empty());

    // Each takes back their own, whole lines; what was cleared comes back with the clear taken back.
    act(&mut ana, "plan", &json!({ "undo": true }));
    wait_for_colours(&mut bob, "plan", &["#1971c2"]);
    call(&mut ana, "POST", "boards/plan", &json!({ "undo": true }), 409);
    act(&mut ana, "plan", &json!({ "clear": true }));
    wait_for_colours(&mut bob, "plan", &[]);
    act(&mut ana, "plan", &json!({ "undo": true }));
    wait_for_colours(&mut bob, "plan", &["#1971c2"]);
    act(&mut ana, "plan", &stroke("#9c36b5", &[(1, 2), (3, 4)], None));
    wait_for_colours(&mut bob, "plan", &["#1971c2", "#9c36b5"]);
    assert!(live.by_ref().take(6).any(|event| event == "anew"));

    let late = AgentProcess::start(AgentOptions {
        binary: binary.to_owned(),
        data: folder.path().join("agent-2"),
        port: port + 20,
        ticket: Some(agents[0].invite(&[]).expect("a ticket")),
        arguments: Vec::new(),
    })
    .expect("joins");
    let mut there = at(&late, "bob");
    wait_until("bob to be known at the late agent", DEADLINE, || {
        Ok((there.request("GET", "/api/v1/self", &[], b"")?.status == 200).then_some(()))
    })
    .expect("bob signs in");
    wait_for_colours(&mut there, "plan", &["#1971c2", "#9c36b5"]);
    let picture = svg(&mut there, "plan");
    assert_eq!(picture, svg(&mut ana, "plan"));
    assert!(picture.contains("<polyline points=\"1,2 3,4\" stroke=\"#9c36b5\" stroke-width=\"4\"/>"), "{picture}");
    assert!(picture.contains("<circle cx=\"5\" cy=\"5\"") && !picture.contains("#e03131"), "{picture}");

    // An agent that is killed shows it again, with what was drawn elsewhere meanwhile; what was drawn can still be taken back.
    let options = agents.remove(0).kill().expect("killed");
    act(&mut there, "plan", &stroke("#846358", &[(7, 7)], None));
    agents.insert(0, AgentProcess::start(options).expect("it comes back"));
    wait_until("ana to sign in again", DEADLINE, || {
        Ok(ana.request("GET", "/api/v1/self", &[], b"").is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .expect("ana signs in");
    wait_for_colours(&mut ana, "plan", &["#1971c2", "#9c36b5", "#846358"]);
    act(&mut ana, "plan", &json!({ "undo": true }));
    wait_for_colours(&mut there, "plan", &["#1971c2", "#846358"]);

    // What is no stroke is refused, and who may only look is.
    for bad in [
        stroke("red", &[(1, 1)], None),
        stroke("#000000", &[(1_601, 1)], None),
        stroke("#000000", &[], None),
        json!({ "wipe": true }),
    ] {
        call(&mut ana, "POST", "boards/plan", &bad, 400);
    }
    call(&mut at(&agents[0], "vic"), "GET", "boards/plan", &Value::Null, 403);
}
