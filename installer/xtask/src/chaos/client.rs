//! The clients: each uses the drive at one mount point as people's programs do, moves to another when it fails, and notes
//! every question and answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use shoal_testkit::history::{Action, Condition, Outcome, Path, Value};
use shoal_testkit::{HttpClient, HttpResponse, NotConnected, RandomBytes};

use super::agents::{Door, said};
use super::content;
use super::journal::Journal;

/// Groups of one generation.
const GROUPS: u32 = 16;
/// Groups that most operations go to, so that clients meet.
const HOT_GROUPS: u64 = 3;
/// Paths of a group.
pub(super) const PATHS: u8 = 3;
/// How long a generation is written to; after that it is only read.
const GENERATION: Duration = Duration::from_secs(180);
/// How long a client waits for each piece of an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// How long a client waits before it asks another agent.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// The header of an answer that may be stale.
const STALE: &str = "x-shoal-stale";

/// What all clients share.
pub(super) struct Shared<'a> {
    pub(super) journal: &'a Journal,
    pub(super) doors: Vec<Door>,
    pub(super) stop: AtomicBool,
    next_value: AtomicU64,
    /// Which content a tag stands for: the same forever.
    tags: Mutex<HashMap<String, Value>>,
    pub(super) tally: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

/// What a group's folder is called.
pub(super) fn folder(group: u32) -> String {
    format!("/pool/chaos-{:03}-{:02}", group / GROUPS, group % GROUPS)
}

fn url(group: u32, path: Path) -> String {
    format!("{}/{}", folder(group), char::from(b'a' + path))
}

impl<'a> Shared<'a> {
    pub(super) fn new(journal: &'a Journal, doors: Vec<Door>) -> Self {
        Self {
            journal,
            doors,
            stop: AtomicBool::new(false),
            next_value: AtomicU64::new(1),
            tags: Mutex::default(),
            tally: Mutex::default(),
        }
    }

    /// The generation that is written to now.
    fn generation(&self) -> u32 {
        u32::try_from(self.journal.recorder.now_us() / GENERATION.as_micros() as u64).unwrap_or(u32::MAX)
    }

    fn tags(&self) -> MutexGuard<'_, HashMap<String, Value>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn_tag(&self, response: &HttpResponse, value: Value) -> Option<String> {
        let tag = response.header("etag")?.to_owned();
        let known = *self.tags().entry(tag.clone()).or_insert(value);
        if known != value {
            self.journal.violation(&format!("the tag {tag} stood for value {known:#x} and stands for {value:#x} now"));
        }
        Some(tag)
    }

    fn count(&self, kind: &'static str, outcome: &'static str) {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner).entry((kind, outcome)).or_default() += 1;
    }
}

/// One client.
pub(super) struct Client<'a> {
    shared: &'a Shared<'a>,
    number: u32,
    door: usize,
    http: HttpClient,
    random: RandomBytes,
}

impl<'a> Client<'a> {
    pub(super) fn new(shared: &'a Shared<'a>, number: u32, door: usize, seed: u64) -> Self {
        let http = shared.doors[door].client(ANSWER_DEADLINE);
        Self { shared, number, door, http, random: RandomBytes::new(seed ^ u64::from(number) << 32) }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit.max(1)
    }

    /// Goes on until told to stop, with one operation each `pace` on average.
    pub(super) fn run(mut self, pace: Duration) {
        let mut made = None;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let begin = Instant::now();
            let generation = self.shared.generation();
            if made != Some(generation) {
                made = self.make_folders(generation).then_some(generation);
            } else {
                self.one(generation);
            }
            let spread = pace.mul_f64(0.2 + 1.6 * self.below(1000) as f64 / 1000.0);
            std::thread::park_timeout(spread.saturating_sub(begin.elapsed()));
        }
    }

    /// Makes sure that a generation's folders are there.
    fn make_folders(&mut self, generation: u32) -> bool {
        for group in generation * GROUPS..(generation + 1) * GROUPS {
            let answer = self.http.request("MKCOL", &format!("{}/", folder(group)), &[], b"");
            if !answer.is_ok_and(|response| matches!(response.status, 201 | 405)) {
                self.move_on();
                return false;
            }
        }
        true
    }

    /// Goes to another agent's drive.
    fn move_on(&mut self) {
        let count = self.shared.doors.len();
        self.door = (self.door + 1 + self.below(count as u64 - 1) as usize) % count;
        self.http = self.shared.doors[self.door].client(ANSWER_DEADLINE);
        std::thread::park_timeout(AFTER_FAILURE);
    }

    fn one(&mut self, generation: u32) {
        let old = self.below(8) == 0;
        let in_generation = if self.below(5) < 3 { self.below(HOT_GROUPS) } else { self.below(u64::from(GROUPS)) };
        let generation = if old { self.below(u64::from(generation) + 1) as u32 } else { generation };
        let old = old && generation != self.shared.generation();
        let group = generation * GROUPS + in_generation as u32;
        let path = self.below(u64::from(PATHS)) as Path;
        // Old generations are only read.
        match if old { self.below(40) } else { self.below(100) } {
            0..=24 => drop(self.get(group, path)),
            25..=28 => self.head(group, path),
            29..=33 => self.get_range(group, path),
            34..=39 => self.list(group),
            40..=61 => self.put(group, path, Condition::None, None),
            62..=67 => self.put(group, path, Condition::Absent, None),
            68..=76 => {
                // Reads, then replaces what it read: as an editor does.
                if let Some((value, tag)) = self.get(group, path) {
                    self.put(group, path, Condition::Is(value), Some(tag));
                }
            }
            77..=85 => self.delete(group, path),
            86..=95 => self.rename(group, path, true),
            _ => self.rename(group, path, false),
        }
    }

    /// Does one operation and notes it; `judge` makes an outcome of an answer.
    fn ask(
        &mut self,
        kind: &'static str,
        group: u32,
        action: Action,
        send: impl FnOnce(&mut HttpClient) -> Result<HttpResponse>,
        judge: impl FnOnce(&Shared<'_>, &HttpResponse) -> Result<Outcome>,
    ) -> Outcome {
        let pending = self.shared.journal.recorder.invoke(group, self.number, self.door as u32, action);
        let (outcome, counted) = match send(&mut self.http) {
            Ok(response) => match judge(self.shared, &response) {
                Ok(Outcome::Unknown) => (Outcome::Unknown, "5xx"),
                Ok(Outcome::NoEffect) => (Outcome::NoEffect, "4xx"),
                // An agent cut off answers from its own copy and says so: true once, but maybe not now.
                Ok(outcome) if outcome != Outcome::Done && response.header(STALE).is_some() => {
                    (Outcome::NoEffect, "stale, as told")
                }
                Ok(outcome @ (Outcome::Missing | Outcome::Found(None))) => (outcome, "nothing there"),
                Ok(outcome @ Outcome::Refused) => (outcome, "condition not met"),
                Ok(outcome) => (outcome, "ok"),
                Err(error) => {
                    let which = format!("{kind} {} at agent {}", describe(group, &action), self.door);
                    self.shared.journal.violation(&format!("{which}: {error:#}"));
                    (Outcome::Unknown, "VIOLATION")
                }
            },
            Err(error) if error.is::<NotConnected>() => (Outcome::NoEffect, "not connected"),
            Err(_) => (Outcome::Unknown, "broken off"),
        };
        self.shared.count(kind, counted);
        self.shared.journal.recorder.finish(pending, outcome);
        if matches!(counted, "5xx" | "not connected" | "broken off") {
            self.move_on();
        }
        outcome
    }

    /// Reads a file; answers its value and tag.
    fn get(&mut self, group: u32, path: Path) -> Option<(Value, String)> {
        let mut tag = None;
        let target = url(group, path);
        let outcome = self.ask(
            "GET",
            group,
            Action::Read { path },
            |http| http.request("GET", &target, &[], b""),
            |shared, response| match response.status {
                200 => {
                    let value = content::identify(&response.body, 0, response.body.len())?;
                    tag = shared.learn_tag(response, value);
                    Ok(Outcome::Found(Some(value)))
                }
                404 => Ok(Outcome::Found(None)),
                _ => failed(response),
            },
        );
        match outcome {
            Outcome::Found(Some(value)) => tag.map(|tag| (value, tag)),
            _ => None,
        }
    }

    /// Reads a file until an answer comes, at this mount point alone; `false` if none came in time.
    pub(super) fn get_surely(&mut self, group: u32, path: Path, patience: Duration) -> bool {
        let begin = Instant::now();
        let door = self.door;
        loop {
            let mut answered = false;
            let target = url(group, path);
            self.ask(
                "last GET",
                group,
                Action::Read { path },
                |http| http.request("GET", &target, &[], b""),
                |shared, response| {
                    answered = matches!(response.status, 200 | 404) && response.header(STALE).is_none();
                    match response.status {
                        200 => {
                            let value = content::identify(&response.body, 0, response.body.len())?;
                            shared.learn_tag(response, value);
                            Ok(Outcome::Found(Some(value)))
                        }
                        404 => Ok(Outcome::Found(None)),
                        _ => failed(response),
                    }
                },
            );
            if answered || begin.elapsed() > patience {
                return answered;
            }
            if self.door != door {
                self.door = door;
                self.http = self.shared.doors[door].client(ANSWER_DEADLINE);
            }
        }
    }

    fn head(&mut self, group: u32, path: Path) {
        let target = url(group, path);
        self.ask(
            "HEAD",
            group,
            Action::Read { path },
            |http| http.request("HEAD", &target, &[], b""),
            |shared, response| match response.status {
                200 => {
                    let tag = response.header("etag").unwrap_or_default();
                    Ok(shared.tags().get(tag).map_or(Outcome::Exists, |value| Outcome::Found(Some(*value))))
                }
                404 => Ok(Outcome::Found(None)),
                _ => failed(response),
            },
        );
    }

    fn get_range(&mut self, group: u32, path: Path) {
        let begin = self.below(1500) as usize * if self.below(3) == 0 { 3000 } else { 1 };
        let end = begin + content::RANGE_BYTES + self.below(200_000) as usize;
        let target = url(group, path);
        let range = format!("bytes={begin}-{end}");
        self.ask(
            "GET range",
            group,
            Action::Read { path },
            |http| http.request("GET", &target, &[("Range", &range)], b""),
            |_, response| match response.status {
                206 => {
                    let total =
                        response.header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
                    let total = total.ok_or_else(|| anyhow!("206 without a Content-Range"))?;
                    // The last few bytes of a file do not tell whose they are.
                    if response.body.len() < content::RANGE_BYTES {
                        return Ok(Outcome::Exists);
                    }
                    content::identify(&response.body, begin, total).map(|value| Outcome::Found(Some(value)))
                }
                416 => Ok(Outcome::Exists),
                404 => Ok(Outcome::Found(None)),
                _ => failed(response),
            },
        );
    }

    fn list(&mut self, group: u32) {
        let target = format!("{}/", folder(group));
        self.ask(
            "PROPFIND",
            group,
            Action::List,
            |http| http.request("PROPFIND", &target, &[("Depth", "1")], b""),
            |_, response| match response.status {
                207 => {
                    let text = String::from_utf8_lossy(&response.body);
                    let there = |path: &u8| text.contains(&format!("{}<", url(group, *path)));
                    Ok(Outcome::Listed((0..PATHS).filter(there).fold(0, |bits, path| bits | 1 << path)))
                }
                _ => failed(response),
            },
        );
    }

    fn put(&mut self, group: u32, path: Path, condition: Condition, tag: Option<String>) {
        let value = self.shared.next_value.fetch_add(1, Ordering::Relaxed);
        let body = content::of(value);
        let target = url(group, path);
        let tag = tag.unwrap_or_default();
        let (kind, headers): (_, &[(&str, &str)]) = match condition {
            Condition::None => ("PUT", &[]),
            Condition::Absent => ("PUT if absent", &[("If-None-Match", "*")]),
            Condition::Is(_) => ("PUT if match", &[("If-Match", tag.as_str())]),
        };
        self.ask(
            kind,
            group,
            Action::Write { path, value, condition },
            |http| http.request("PUT", &target, headers, &body),
            |shared, response| match response.status {
                201 | 204 => {
                    shared.learn_tag(response, value);
                    Ok(Outcome::Done)
                }
                412 if condition != Condition::None => Ok(Outcome::Refused),
                _ => failed(response),
            },
        );
    }

    fn delete(&mut self, group: u32, path: Path) {
        let target = url(group, path);
        self.ask(
            "DELETE",
            group,
            Action::Delete { path },
            |http| http.request("DELETE", &target, &[], b""),
            |_, response| match response.status {
                200 | 204 => Ok(Outcome::Done),
                404 => Ok(Outcome::Missing),
                _ => failed(response),
            },
        );
    }

    fn rename(&mut self, group: u32, from: Path, overwrite: bool) {
        let to = (from + 1 + self.below(u64::from(PATHS) - 1) as Path) % PATHS;
        let target = url(group, from);
        let destination = format!("{}{}", self.shared.doors[self.door].base(), url(group, to));
        let headers = [("Destination", destination.as_str()), ("Overwrite", if overwrite { "T" } else { "F" })];
        self.ask(
            if overwrite { "MOVE" } else { "MOVE if absent" },
            group,
            Action::Move { from, to, overwrite },
            |http| http.request("MOVE", &target, &headers, b""),
            |_, response| match response.status {
                201 | 204 => Ok(Outcome::Done),
                404 => Ok(Outcome::Missing),
                412 if !overwrite => Ok(Outcome::Refused),
                _ => failed(response),
            },
        );
    }
}

/// An answer that is neither success nor one of the refusals that mean something here.
fn failed(response: &HttpResponse) -> Result<Outcome> {
    match response.status {
        // The request may have reached whoever decides before the answer was lost.
        408 | 500.. => Ok(Outcome::Unknown),
        // Somebody else is just changing it, a queue is full.
        409 | 423 | 429 => Ok(Outcome::NoEffect),
        status => Err(anyhow!("status {status}: {}", said(response))),
    }
}

fn describe(group: u32, action: &Action) -> String {
    match *action {
        Action::Read { path } | Action::Write { path, .. } | Action::Delete { path } => url(group, path),
        Action::Move { from, .. } => url(group, from),
        Action::List => folder(group),
    }
}
