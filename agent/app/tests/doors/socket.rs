//! The socket, by hand: lines of JSON.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use shoal_testkit::{AgentProcess, wait_until};

use crate::common::{DEADLINE, Pool};

/// A connection to an agent's socket.
pub(crate) struct Line {
    pub(crate) stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Line {
    pub(crate) fn open(agent: &AgentProcess) -> Self {
        let stream = UnixStream::connect(agent.data().join("messages.sock")).expect("the socket is there");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Self { reader: BufReader::new(stream.try_clone().expect("a copy")), stream }
    }

    pub(crate) fn say(&mut self, line: &Value) {
        self.stream.write_all(format!("{line}\n").as_bytes()).expect("it is read");
    }

    /// The next line; `None` where the agent has closed.
    pub(crate) fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("JSON")),
            // It closed while we were writing.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("waited {DEADLINE:?} in vain for a line: {error}"),
        }
    }

    pub(crate) fn ask(&mut self, line: &Value) -> Value {
        self.say(line);
        self.hear().expect("an answer")
    }
}

#[test]
fn calls_of_one_connection_run_side_by_side_under_names_of_the_callers_own() {
    let pool = Pool::start(&["office-pc", "lab-2"], &["word-count"]);
    let agent = &pool.agents[0];
    let mode = std::fs::metadata(agent.data().join("messages.sock")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut line = Line::open(agent);
    line.say(&json!({ "seq": "log", "call": "follow", "body": { "type": "word-count" } }));
    line.say(
        &json!({ "seq": 1, "call": "request", "body": { "type": "word-count", "to": { "all": true }, "text": "a b" } }),
    );
    line.say(&json!({ "seq": 2, "call": "send", "body": { "type": "word-count", "to": { "agents": ["lab-2"] }, "xml": "<x/>" } }));
    let (mut replies, mut sent, mut done, mut entries) = (Vec::new(), None, false, 0);
    while replies.len() < 2 || sent.is_none() || !done || entries < 4 {
        let told = line.hear().expect("more");
        match (told["seq"].as_u64(), told["event"]["event"].as_str()) {
            (Some(1), Some("reply")) => replies.push(told["event"]["name"].as_str().unwrap().to_owned()),
            (Some(1), Some("done")) => done = told["event"]["finished"] == true,
            (Some(2), None) => sent = told["answer"]["messages"][0]["id"].as_str().map(str::to_owned),
            (None, Some("entry")) if told["seq"] == "log" => entries += 1,
            (Some(1), Some("sent" | "state")) | (None, Some("state")) => {}
            _ => panic!("{told}"),
        }
    }
    replies.sort_unstable();
    assert_eq!(replies, ["lab-2", "office-pc"]);
    // What is stopped says nothing more.
    line.say(&json!({ "seq": 3, "call": "stop", "body": { "seq": "log" } }));
    let stopped = loop {
        let told = line.hear().expect("more");
        if told["seq"] == 3 {
            break told;
        }
    };
    assert_eq!(stopped["answer"]["stopped"], true);
    line.say(
        &json!({ "seq": 8, "call": "request", "body": { "type": "word-count", "to": { "all": true }, "text": "said later" } }),
    );
    loop {
        let told = line.hear().expect("more");
        assert!(told["seq"] == 8 || !told.to_string().contains("said later"), "{told}");
        if told["event"]["event"] == "done" {
            break;
        }
    }
    wait_until("what was sent to be handled", DEADLINE, || {
        let told = line.ask(&json!({ "seq": 4, "call": "states", "body": { "id": sent } }));
        Ok((told["answer"]["recipients"][0]["state"] == "handled").then_some(()))
    })
    .expect("it is handled");
    let page = line.ask(&json!({ "seq": 5, "call": "log", "body": { "limit": 2 } }));
    assert_eq!(page["answer"]["entries"].as_array().map(Vec::len), Some(2), "{page}");
    let own = line.ask(&json!({ "seq": 6, "call": "peerlets" }));
    let peerlets = own["answer"]["peerlets"].as_array().expect("peerlets");
    assert!(peerlets.iter().any(|peerlet| peerlet["type"] == "word-count"), "{own}");
}

#[test]
fn who_says_that_nothing_more_comes_gets_what_was_asked_and_then_the_end() {
    let pool = Pool::start(&["office-pc"], &["word-count"]);
    let mut line = Line::open(&pool.agents[0]);
    line.say(&json!({ "seq": 1, "call": "follow" }));
    line.say(
        &json!({ "seq": 2, "call": "request", "body": { "type": "word-count", "to": { "all": true }, "text": "a" } }),
    );
    line.stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    let mut last = None;
    while let Some(told) = line.hear() {
        if told["seq"] == 2 {
            last = Some(told);
        }
    }
    assert_eq!(last.expect("events")["event"], json!({ "event": "done", "finished": true }));
}

#[test]
fn what_cannot_be_done_is_told_under_its_name_and_the_connection_goes_on() {
    let pool = Pool::start(&["office-pc"], &[]);
    let mut line = Line::open(&pool.agents[0]);
    let to = json!({ "agents": ["nobody"] });
    for (said, seq, status) in [
        (json!({ "seq": 1, "call": "sing" }), json!(1), 400),
        (json!("words"), Value::Null, 400),
        (json!({ "seq": 2, "call": "send", "body": { "type": "x", "to": to } }), json!(2), 404),
        (
            json!({ "seq": 3, "call": "send", "body": { "type": "x", "to": { "all": true }, "colour": 1 } }),
            json!(3),
            400,
        ),
        (json!({ "seq": "s", "call": "states", "body": { "id": "1" } }), json!("s"), 400),
        (
            json!({ "seq": 4, "call": "send", "body": { "type": "x", "to": { "all": true }, "xml": "<a>" } }),
            json!(4),
            400,
        ),
        (
            json!({ "seq": 5, "call": "send", "body": { "type": "x", "to": { "all": true }, "as": "nobody" } }),
            json!(5),
            403,
        ),
    ] {
        let told = line.ask(&said);
        assert_eq!((&told["seq"], told["error"]["status"].as_u64()), (&seq, Some(status)), "{said}: {told}");
        assert!(told["error"]["error"].as_str().is_some_and(|sentence| sentence.len() > 5), "{told}");
    }
    line.say(&json!({ "seq": 7, "call": "follow" }));
    let twice = line.ask(&json!({ "seq": 7, "call": "follow" }));
    assert_eq!(twice["error"]["status"], 409, "{twice}");
}
