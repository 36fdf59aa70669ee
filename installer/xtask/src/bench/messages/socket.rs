//! Messages through the socket of the sender's computer, the door that costs least: each counts when its recipient has it on its disk
//! and its sender has that on its own, whether the program has dealt with it or not.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Connections, at most; further callers share them. An agent has 32, and 16 calls of each under way.
const CONNECTIONS_LIMIT: usize = 28;
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

/// Some callers' connection. Each call has a name of its own, which tells who made it.
struct Connection {
    lines: BufReader<UnixStream>,
    /// All of a call but its name.
    call: String,
    calls: usize,
    /// When each caller's call began; `None` once it was acknowledged.
    begun: Vec<Option<Instant>>,
    latencies: Vec<Duration>,
}

impl Connection {
    fn open(socket: &Path, body: &Value, callers: usize) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("no agent at {}", socket.display()))?;
        stream.set_read_timeout(Some(SILENCE_LIMIT))?;
        let call = format!(",\"call\":\"request\",\"body\":{body}}}\n");
        let (lines, begun, latencies) = (BufReader::new(stream), vec![None; callers], Vec::new());
        Ok(Self { lines, call, calls: 0, begun, latencies })
    }

    fn run(mut self, until: Instant) -> Result<Vec<Duration>> {
        let mut under_way = 0;
        for caller in 0..self.begun.len() {
            self.send(caller)?;
            under_way += 1;
        }
        let mut line = String::new();
        while under_way > 0 {
            line.clear();
            ensure!(self.lines.read_line(&mut line)? > 0, "the agent closed the connection");
            let told: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            let seq = told["seq"].as_u64().and_then(|seq| usize::try_from(seq).ok());
            let caller = seq.with_context(|| line.clone())? % self.begun.len();
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
        let seq = self.calls * self.begun.len() + caller;
        self.calls += 1;
        let line = format!("{{\"seq\":{seq}{}", self.call);
        self.begun[caller] = Some(Instant::now());
        Ok(self.lines.get_mut().write_all(line.as_bytes())?)
    }
}
