//! Messages through the socket of the sender's computer, the door that costs least: each counts when its recipient has it on its disk
//! and its sender has that on its own, whether the program has dealt with it or not.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Connections, at most; further callers share them.
const CONNECTIONS_LIMIT: usize = 16;
/// How long an agent may say nothing.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Has so many callers send one message after the other to an agent until a time; answers how long each took to be
/// acknowledged.
pub(super) fn drive(data: &Path, there: &str, text: &str, callers: usize, until: Instant) -> Result<Vec<Duration>> {
    let connections = callers.clamp(1, CONNECTIONS_LIMIT);
    let body = json!({ "type": "sink", "to": { "agents": [there] }, "text": text, "timeout_s": 30 });
    let socket = data.join("messages.sock");
    std::thread::scope(|scope| {
        let share = |number: usize| (callers + connections - 1 - number) / connections;
        let begin = |number: usize| {
            scope.spawn({
                let (socket, body) = (&socket, &body);
                move || Connection::open(socket, body, share(number))?.run(until)
            })
        };
        let threads: Vec<_> = (0..connections).map(begin).collect();
        let mut latencies = Vec::new();
        for thread in threads {
            latencies.extend(thread.join().map_err(|_| anyhow::anyhow!("a caller panicked"))??);
        }
        Ok(latencies)
    })
}

/// Some callers' connection. A call is named by the caller that makes it.
struct Connection {
    lines: BufReader<UnixStream>,
    calls: Vec<String>,
    /// When each caller's call began; `None` once it was acknowledged.
    begun: Vec<Option<Instant>>,
    latencies: Vec<Duration>,
}

impl Connection {
    fn open(socket: &Path, body: &Value, callers: usize) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("no agent at {}", socket.display()))?;
        stream.set_read_timeout(Some(SILENCE_LIMIT))?;
        let call = |seq: usize| format!("{}\n", json!({ "seq": seq, "call": "request", "body": body }));
        let calls = (0..callers).map(call).collect();
        Ok(Self { lines: BufReader::new(stream), calls, begun: vec![None; callers], latencies: Vec::new() })
    }

    fn run(mut self, until: Instant) -> Result<Vec<Duration>> {
        let mut under_way = 0;
        for caller in 0..self.calls.len() {
            self.send(caller)?;
            under_way += 1;
        }
        let mut line = String::new();
        while under_way > 0 {
            line.clear();
            ensure!(self.lines.read_line(&mut line)? > 0, "the agent closed the connection");
            let told: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            let caller = told["seq"].as_u64().and_then(|seq| usize::try_from(seq).ok());
            let caller = caller.filter(|caller| *caller < self.calls.len()).with_context(|| line.clone())?;
            match told["event"]["event"].as_str() {
                Some("state") if matches!(told["event"]["state"].as_str(), Some("delivered" | "handled")) => {
                    self.latencies.extend(self.begun[caller].take().map(|begun| begun.elapsed()));
                }
                Some("sent") => {}
                Some("done") if told["event"]["finished"] == true && self.begun[caller].is_none() => {
                    if Instant::now() < until {
                        self.send(caller)?;
                    } else {
                        under_way -= 1;
                    }
                }
                _ => anyhow::bail!("not acknowledged: {line}"),
            }
        }
        Ok(self.latencies)
    }

    fn send(&mut self, caller: usize) -> Result<()> {
        self.begun[caller] = Some(Instant::now());
        Ok(self.lines.get_mut().write_all(self.calls[caller].as_bytes())?)
    }
}
