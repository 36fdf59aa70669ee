//! Pages that are open in many windows: so many and no more follow an agent at once, and a window that is closed makes room at once.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use shoal_testkit::{AgentProcess, free_port_base, start_pool, wait_until};

const DEADLINE: Duration = Duration::from_secs(30);
/// How long a place may take to be free again: far less than the time after which an agent writes to a window that is silent.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Windows that an agent serves at once.
const STREAMS_LIMIT: usize = 64;
/// What pages and programs follow.
const STREAMS: [&str; 5] = ["boards/main/events", "chat/events", "files/events", "events", "log/follow"];

/// The status of the answer, and the connection it goes on coming by.
fn open(agent: &AgentProcess, path: &str) -> (u16, BufReader<TcpStream>) {
    let address = SocketAddr::from(([127, 0, 0, 1], agent.options().port + 1));
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let (user, password) = AgentProcess::credentials();
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    write!(stream, "GET /api/v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\r\n")
        .expect("asked");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("an answer before the deadline");
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), reader)
}

/// The body of an answer that has an end.
fn body(mut answer: BufReader<TcpStream>) -> String {
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).expect("a header before the deadline");
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body).expect("a body before the deadline");
    String::from_utf8(body).expect("text")
}

/// The status of an answer, where it leads, and its text, of a request as it is written.
fn raw(agent: &AgentProcess, request: &str) -> (String, Option<String>, String) {
    let mut stream =
        TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], agent.options().port + 1))).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer before the deadline");
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut lines = answer.lines();
    let location = lines.find_map(|line| line.strip_prefix("location: ").map(str::to_owned));
    (status, location, answer)
}

#[test]
fn who_signs_in_sees_the_page_they_wanted_and_is_led_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port_base(10).expect("ports");
    let agents =
        start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder.path(), port, 1, |_| Ok(())).expect("a pool");
    let agent = &agents[0];
    let get = |path: &str| raw(agent, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    for (page, sign_in) in [
        ("/", "/sign-in"),
        ("/chat/lobby", "/sign-in?next=/chat/lobby"),
        ("/chat/with/ana%20maria", "/sign-in?next=/chat/with/ana%2520maria"),
        ("/files", "/sign-in?next=/files"),
    ] {
        let (status, location, answer) = get(page);
        assert_eq!((status.as_str(), location.as_deref()), ("303", Some(sign_in)), "{answer}");
    }
    let (_, _, form) = get("/sign-in?next=/chat/with/ana%2520maria");
    assert!(form.contains(r#"name="next" value="/chat/with/ana%20maria""#), "{form}");
    let (_, _, form) = get("/sign-in?next=//evil.example/");
    assert!(form.contains(r#"name="next" value="/""#) && !form.contains("evil"), "{form}");

    let (user, password) = AgentProcess::credentials();
    let sign_in = |password: &str, next: &str| {
        let body = format!("user={user}&password={password}&next={next}");
        let head = "POST /sign-in HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        raw(agent, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    let (status, _, form) = sign_in("a+guess", "/chat/lobby");
    assert!(status == "401" && form.contains(r#"name="next" value="/chat/lobby""#), "{form}");
    for (next, expected) in [
        ("/chat/lobby", "/chat/lobby"),
        ("", "/"),
        ("https%3A%2F%2Fevil.example", "/"),
        ("%2F%2Fevil.example%2Fchat", "/"),
        ("%2F%5Cevil.example", "/"),
        ("/api/v1/users", "/"),
    ] {
        let (status, location, answer) = sign_in(password, next);
        assert_eq!((status.as_str(), location.as_deref()), ("303", Some(expected)), "{answer}");
        assert!(answer.contains("set-cookie: shoal_session="), "{answer}");
    }
}

#[test]
fn a_window_too_many_is_told_so_and_a_closed_one_makes_room_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port_base(10).expect("ports");
    let agents =
        start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder.path(), port, 1, |_| Ok(())).expect("a pool");
    let agent = &agents[0];
    let mut windows: Vec<_> =
        STREAMS.iter().cycle().take(STREAMS_LIMIT).map(|path| (path, open(agent, path))).collect();
    for (path, (status, _)) in &windows {
        assert_eq!(*status, 200, "{path}");
    }
    for path in STREAMS {
        let (status, answer) = open(agent, path);
        assert_eq!(status, 503, "{path}");
        let said = body(answer);
        assert!(said.contains("64 pages and programs follow this agent already; close some"), "{path}: {said}");
    }
    // Everything else is served.
    assert_eq!(agent.api().request("GET", "/api/v1/status", &[], b"").expect("an answer").status, 200);

    // One of each kind: nothing happens that its stream would tell.
    for path in STREAMS {
        let at = windows.iter().position(|(open, _)| **open == path).expect("one is open");
        drop(windows.remove(at));
        let again = wait_until("the place to be free", AT_ONCE, || {
            let (status, window) = open(agent, path);
            Ok((status == 200).then_some((status, window)))
        });
        windows.push((STREAMS.iter().find(|stream| **stream == path).expect("it is one"), again.expect(path)));
    }
}

fn page(agent: &AgentProcess, path: &str) -> String {
    let answer = agent.api().request("GET", path, &[], b"").expect("an answer");
    String::from_utf8(answer.expect(&[200]).expect(path).body).expect("text")
}

#[test]
fn pages_offer_whom_there_is_and_all_that_they_load_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port_base(20).expect("ports");
    let agents =
        start_pool(Path::new(env!("CARGO_BIN_EXE_shoal")), folder.path(), port, 2, |_| Ok(())).expect("a pool");
    agents[0].json(&["group", "set", "lab", "agent-0", "agent-1"]).expect("a group");
    let (run, files) = (page(&agents[0], "/run"), page(&agents[0], "/files"));
    for (name, page) in [("run", &run), ("files", &files)] {
        assert!(page.contains("<option value=\"lab\">lab (2 agents)</option>"), "{name}: {page}");
        assert!(page.contains("name=\"agent\" value=\"agent-1\""), "{name}: {page}");
    }
    // One runs something here too, and sends nothing to oneself.
    assert!(run.contains("name=\"agent\" value=\"agent-0\"") && !files.contains("name=\"agent\" value=\"agent-0\""));
    for path in ["/", "/chat/lobby", "/whiteboard/main", "/files", "/run"] {
        let text = page(&agents[0], path);
        let loads: Vec<&str> = text.split(['"']).filter(|word| word.starts_with("/assets/")).collect();
        assert!(loads.contains(&"/assets/style.css") && loads.contains(&"/assets/calls.js"), "{path}: {loads:?}");
        for asset in loads {
            assert!(!page(&agents[0], asset).is_empty(), "{asset}");
        }
    }
}
