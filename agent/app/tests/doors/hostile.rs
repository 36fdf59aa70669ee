//! Callers that mean harm, or know no better: they cost nothing, are told what is wrong, and others are served meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::json;
use shoal_testkit::{AgentProcess, process};

use crate::common::{DEADLINE, Pool};
use crate::plain::api_address;
use crate::socket::Line;

/// What an agent may grow by while all this is done to it.
const GROWTH_LIMIT_BYTES: u64 = 128 * 1024 * 1024;
/// Longer than the longest time an agent gives a caller that is slow.
const PATIENCE: Duration = Duration::from_secs(90);

/// Messages of a flood: more than one user may have under way.
const FLOOD_LIMIT: u64 = 10_000;
/// Time for a request that nothing holds up.
const AT_ONCE: Duration = Duration::from_secs(10);

fn memory(agent: &AgentProcess) -> u64 {
    process::usage(&[agent.pid()]).resident_bytes
}

/// Writes a request as it is, and reads what comes until the agent closes.
fn raw(agent: &AgentProcess, head: &str, pieces: impl Iterator<Item = Vec<u8>>) -> String {
    let mut stream = TcpStream::connect(api_address(agent)).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let (user, password) = AgentProcess::credentials();
    let signed = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let head = format!("{head}Host: agent\r\nAuthorization: Basic {signed}\r\nConnection: close\r\n\r\n");
    let mut sent = stream.write_all(head.as_bytes());
    for piece in pieces {
        sent = sent.and_then(|()| stream.write_all(&piece));
        if sent.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    // It may close while we are still sending.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(path: &str, kind: &str, length: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nContent-Type: {kind}\r\n{length}\r\n")
}

fn still_serves(agent: &AgentProcess) {
    let begun = Instant::now();
    let output = agent.shoal(&["request", "word-count", "--all", "one"]).expect("runs");
    assert!(output.status.success(), "{}", crate::common::said(&output));
    assert!(begun.elapsed() < DEADLINE, "it took {:?}", begun.elapsed());
}

#[test]
fn bombs_and_giants_of_xml_are_refused_with_a_sentence() {
    let pool = Pool::start(&["office-pc"], &["word-count"]);
    let agent = &pool.agents[0];
    still_serves(agent);
    let before = memory(agent);
    let laughs: String = (1..10).map(|n| format!("<!ENTITY l{n} '{}'>", format!("&l{};", n - 1).repeat(10))).collect();
    let bomb = format!("<!DOCTYPE x [<!ENTITY l0 'ha'>{laughs}]><x>&l9;</x>");
    let outside = "<!DOCTYPE x SYSTEM 'http://127.0.0.1:1/x.dtd'><x/>".to_owned();
    let entity = "<!DOCTYPE x [<!ENTITY f SYSTEM 'file:///etc/passwd'>]><x>&f;</x>".to_owned();
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let wide = format!("<a>{}</a>", "<b/>".repeat(100_000));
    let attributes = format!("<a {}/>", (0..50_000).map(|n| format!("a{n}='' ")).collect::<String>());
    let spaces = format!("<a {}/>", (0..30_000).map(|n| format!("xmlns:a{n}='urn:{n}' ")).collect::<String>());
    let truncated = "<message xmlns='urn:shoal:dci:1' type='x'><to all='true'/><body>".to_owned();
    let not_utf8 = "\u{0}\u{1}\u{2}".to_owned();
    for (path, kind) in [("/api/v1/xml", "application/xml"), ("/soap", "text/xml")] {
        for body in [&bomb, &outside, &entity, &deep, &wide, &attributes, &spaces, &truncated, &not_utf8] {
            let begun = Instant::now();
            let head = post(path, kind, &format!("Content-Length: {}", body.len()));
            let answer = raw(agent, &head, std::iter::once(body.clone().into_bytes()));
            let shown = &body[..body.len().min(60)];
            let refused = if path == "/soap" { "<faultcode>soap:Client</faultcode>" } else { "<problem " };
            assert!(answer.starts_with("HTTP/1.1 ") && answer.contains(refused), "{path} {shown}: {answer}");
            assert!(!answer.contains("root:"), "{answer}");
            assert!(begun.elapsed() < DEADLINE, "{path} {shown} took {:?}", begun.elapsed());
        }
        // Too large: said before it is read, and while it is read where nobody said how large it is.
        let head = post(path, kind, "Content-Length: 100000000000");
        assert!(raw(agent, &head, std::iter::empty()).starts_with("HTTP/1.1 413 "), "{path}");
        let piece = [b"10000\r\n".to_vec(), vec![b'x'; 65_536], b"\r\n".to_vec()].concat();
        let answer = raw(agent, &post(path, kind, "Transfer-Encoding: chunked"), std::iter::repeat_n(piece, 10_000));
        // The answer is lost where the system throws it away with what was not read.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
    }
    still_serves(agent);
    let grown = memory(agent).saturating_sub(before);
    assert!(grown < GROWTH_LIMIT_BYTES, "it grew by {grown} bytes");
}

#[test]
fn giants_and_garbage_of_json_are_refused_with_a_sentence_of_ours() {
    let pool = Pool::start(&["office-pc"], &["word-count"]);
    let agent = &pool.agents[0];
    for path in ["/api/v1/messages", "/api/v1/requests"] {
        let head = post(path, "application/json", "Content-Length: 100000000");
        let answer = raw(agent, &head, std::iter::empty());
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("travel as files"), "{path}: {answer}");
        let piece = [b"10000\r\n".to_vec(), vec![b' '; 65_536], b"\r\n".to_vec()].concat();
        let head = post(path, "application/json", "Transfer-Encoding: chunked");
        let answer = raw(agent, &head, std::iter::repeat_n(piece, 1_600));
        // The answer is lost where the system throws it away with what was not read.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
        for (body, expected) in [
            (r#"{"to":{"all":true}}"#, "the field `type` is missing"),
            (r#"{"type":"word-count","to":{"all":true},"ttl":"far"}"#, "invalid type: string"),
            ("{", "the body is no JSON"),
        ] {
            let head = post(path, "application/json", &format!("Content-Length: {}", body.len()));
            let answer = raw(agent, &head, std::iter::once(body.as_bytes().to_vec()));
            let is_ours = answer.contains(expected) && !answer.contains("target type");
            assert!(answer.starts_with("HTTP/1.1 400 ") && is_ours, "{path} {body}: {answer}");
        }
    }
    still_serves(agent);
}

#[test]
fn who_floods_is_told_to_wait_and_others_are_served_at_once() {
    let pool = Pool::start(&["office-pc"], &[]);
    let agent = &pool.agents[0];
    let slow = pool.folder.path().join("slow");
    std::fs::create_dir(&slow).expect("made");
    let manifest = "type = \"slow\"\nversion = \"1.0.0\"\ndescription = \"Takes its time\"\ncommand = [\"sleep\", \"600\"]\n\
                    mode = \"service\"\noutput = \"json\"\n[limits]\ntime_s = 3600\nqueue = 1000\n";
    std::fs::write(slow.join("peerlet.toml"), manifest).expect("written");
    crate::common::add(agent, &slow);
    crate::common::add(agent, &crate::common::project("peerlets/examples/word-count"));
    let mut flood = Line::open(agent);
    // To nobody who answers: what is refused does not wait.
    let refused = (0..FLOOD_LIMIT).find_map(|seq| {
        let body = json!({ "type": "slow", "to": { "all": true }, "text": "x" });
        let told = flood.ask(&json!({ "seq": seq, "call": "send", "body": body }));
        told.get("error").cloned()
    });
    let refused = refused.expect("at some point it is too many");
    assert_eq!((refused["status"].as_u64(), refused["retry_after_s"].as_u64()), (Some(429), Some(2)), "{refused}");
    assert!(refused["error"].as_str().is_some_and(|it| it.contains("messages of admin are waiting")), "{refused}");
    let body = r#"{"type":"slow","to":{"all":true},"text":"x"}"#;
    let head = post("/api/v1/messages", "application/json", &format!("Content-Length: {}", body.len()));
    let answer = raw(agent, &head, std::iter::once(body.as_bytes().to_vec()));
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.to_lowercase().contains("retry-after: 2"), "{answer}");
    // Another user's request is dealt with as if nobody flooded.
    agent.json(&["user", "add", "ana"]).expect("a user");
    let begun = Instant::now();
    let output = agent.shoal(&["--user", "ana", "request", "word-count", "--all", "one"]).expect("runs");
    assert!(output.status.success(), "{}", crate::common::said(&output));
    assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
}

#[test]
fn slow_callers_are_left_after_a_while_and_others_served_meanwhile() {
    let pool = Pool::start(&["office-pc"], &["word-count"]);
    let agent = &pool.agents[0];
    std::thread::scope(|scope| {
        // Bodies and lines that never come to their end.
        let slow = |path: &'static str, kind: &'static str| {
            scope.spawn(move || raw(agent, &post(path, kind, "Content-Length: 1000"), std::iter::once(b"<a>".to_vec())))
        };
        let bodies = [slow("/api/v1/xml", "application/xml"), slow("/soap", "text/xml")];
        let line = scope.spawn(|| {
            let mut line = Line::open(agent);
            line.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            line.stream.write_all(b"{\"seq\":1,").expect("written");
            (line.hear(), line.hear())
        });
        still_serves(agent);
        for body in bodies {
            let answer = body.join().expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("30 seconds"), "{answer}");
        }
        let (told, end) = line.join().expect("an answer");
        assert!(told.expect("a line")["error"]["error"].as_str().is_some_and(|it| it.contains("30 seconds")));
        assert!(end.is_none());
    });
    still_serves(agent);
}

#[test]
fn garbage_endless_lines_and_crowds_at_the_socket_cost_nothing() {
    let pool = Pool::start(&["office-pc"], &["word-count"]);
    let agent = &pool.agents[0];
    still_serves(agent);
    let before = memory(agent);
    // Garbage is answered, line by line.
    let mut line = Line::open(agent);
    for garbage in [&b"GET / HTTP/1.1\n"[..], b"\n", b"\xff\xfe\x00\n", b"[[[[[[[[[[[[\n", b"{\"call\":\"send\"}\n"] {
        line.stream.write_all(garbage).expect("written");
        let told = line.hear().expect("an answer");
        assert_eq!((told["seq"].is_null(), told["error"]["status"].as_u64()), (true, Some(400)), "{told}");
    }
    // What says which call it is hears of it under that name.
    for unknown in [json!({ "seq": "a", "call": "sing" }), json!({ "seq": "a" })] {
        let told = line.ask(&unknown);
        assert_eq!((told["seq"].as_str(), told["error"]["status"].as_u64()), (Some("a"), Some(400)), "{told}");
    }
    let deep = format!("{{\"seq\":1,\"call\":\"send\",\"body\":{}\n", "[".repeat(1_000_000));
    line.stream.write_all(deep.as_bytes()).expect("written");
    assert_eq!(line.hear().expect("an answer")["error"]["status"], 400);
    // A line without end is cut off.
    let mut endless = Line::open(agent);
    let piece = vec![b'x'; 1024 * 1024];
    while endless.stream.write_all(&piece).is_ok() {}
    if let Some(told) = endless.hear() {
        assert!(told["error"]["error"].as_str().is_some_and(|it| it.contains("bytes")), "{told}");
    }
    // Too many calls at once in one connection.
    let mut busy = Line::open(agent);
    (0..20).for_each(|seq| busy.say(&json!({ "seq": seq, "call": "follow" })));
    let refused: Vec<_> = (0..4).map(|_| busy.hear().expect("an answer")).collect();
    assert!(refused.iter().all(|told| told["error"]["status"] == 429), "{refused:?}");
    drop(busy);
    // A crowd: who is one too many is told.
    let mut crowd: Vec<Line> = Vec::new();
    let turned_away = (0..100).find_map(|_| {
        let mut line = Line::open(agent);
        let told = line.ask(&json!({ "seq": 1, "call": "peerlets" }));
        let refused = told["error"]["status"] == 503;
        crowd.push(line);
        refused.then_some(told)
    });
    let told = turned_away.expect("somebody is turned away");
    assert!(told["error"]["error"].as_str().is_some_and(|it| it.contains("connected already")), "{told}");
    // Nobody else is kept from the agent by that.
    still_serves(agent);
    drop(crowd);
    // Who asks and does not read is left.
    let mut deaf = Line::open(agent);
    deaf.stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let page = format!("{}\n", json!({ "seq": 1, "call": "log", "body": { "limit": 1000 } }));
    while deaf.stream.write_all(page.as_bytes()).is_ok() {}
    still_serves(agent);
    let grown = memory(agent).saturating_sub(before);
    assert!(grown < GROWTH_LIMIT_BYTES, "it grew by {grown} bytes");
}
