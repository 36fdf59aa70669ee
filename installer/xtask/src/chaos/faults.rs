//! Does to the agents what the plan says, undoes it, and waits until each is back; keeps the account of who is out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_testkit::RandomBytes;

use super::agents::{Fleet, up_in};
use super::damage;
use super::disk::Disk;
use super::journal::Journal;
use super::plan::{Fault, HAMPERED_LIMIT, Harm, Kind, OUT_LIMIT, Target};

/// How long an agent may take to be back after its fault was undone.
const BACK_DEADLINE: Duration = Duration::from_secs(120);
/// How often an agent that should be back is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the pool may take to mend damaged shards before the run goes on with their agent out for good.
const MEND_DEADLINE: Duration = Duration::from_secs(180);

/// When something was wrong, for the figures at the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spell {
    pub(super) kind: Kind,
    pub(super) agent: usize,
    pub(super) is_out: bool,
    pub(super) begun_us: u64,
    pub(super) ended_us: u64,
}

/// A fault under way.
struct Active {
    fault: Fault,
    agent: usize,
    begun: Instant,
    begun_us: u64,
    /// Set when it was undone.
    undone: Option<Instant>,
    looked: Instant,
    /// A command of the pool that mends it.
    mending: Option<std::process::Child>,
}

/// The hand that does it all.
pub(super) struct Hand<'a> {
    pub(super) fleet: Fleet,
    journal: &'a Journal,
    random: RandomBytes,
    active: Vec<Active>,
    /// Agents whose damage was never mended: they count as out to the end.
    unmended: BTreeMap<usize, u64>,
    pub(super) spells: Vec<Spell>,
    pub(super) skipped: usize,
    can_scrub: bool,
}

impl<'a> Hand<'a> {
    pub(super) fn new(fleet: Fleet, journal: &'a Journal, seed: u64, can_scrub: bool) -> Self {
        Self {
            fleet,
            journal,
            random: RandomBytes::new(!seed),
            active: Vec::new(),
            unmended: BTreeMap::new(),
            spells: Vec::new(),
            skipped: 0,
            can_scrub,
        }
    }

    /// Begins a fault if the account allows it now.
    pub(super) fn begin(&mut self, fault: Fault) {
        let agent = self.struck(fault.target);
        if let Some(reason) = self.forbidden(&fault, agent) {
            self.skipped += 1;
            self.journal.tell(&format!("skipped: {fault}: {reason}"));
            return;
        }
        let begun_us = self.journal.recorder.now_us();
        match self.strike(&fault, agent) {
            Ok(detail) => self.journal.tell(&format!(
                "fault: {:?} on agent {agent}{detail}, for {:.1} s",
                fault.harm,
                fault.lasts.as_secs_f32()
            )),
            Err(error) => {
                self.journal.tell(&format!("could not: {fault}: {error:#}"));
                return;
            }
        }
        let now = Instant::now();
        self.active.push(Active { fault, agent, begun: now, begun_us, undone: None, looked: now, mending: None });
    }

    fn struck(&self, target: Target) -> usize {
        match target {
            Target::Agent(agent) => agent,
            Target::LeaderElse(agent) => {
                let sound = self.fleet.agents.iter().find(|agent| !self.is_struck(agent.index));
                let leader = sound.and_then(|agent| agent.leader().ok());
                leader.and_then(|name| name.strip_prefix("agent-")?.parse().ok()).unwrap_or(agent)
            }
        }
    }

    fn is_struck(&self, agent: usize) -> bool {
        self.active.iter().any(|active| active.agent == agent) || self.unmended.contains_key(&agent)
    }

    fn forbidden(&self, fault: &Fault, agent: usize) -> Option<&'static str> {
        let alike = self.active.iter().filter(|active| active.fault.harm.is_out() == fault.harm.is_out()).count();
        let is_damage = fault.harm.kind() == Kind::Flip;
        let again = is_damage && self.unmended.contains_key(&agent);
        let unmended = self.unmended.len() - usize::from(again);
        if self.is_struck(agent) && !again {
            return Some("it is not itself now");
        }
        if is_damage && !self.active.is_empty() {
            return Some("damage waits until nothing else is wrong");
        }
        if is_damage && unmended > 0 {
            return Some("damage of another agent is not mended");
        }
        if is_damage && !self.is_whole() {
            return Some("damage waits until every stripe can lose one more shard");
        }
        match fault.harm.is_out() {
            true if alike + unmended >= OUT_LIMIT => Some("enough agents are out"),
            false if alike >= HAMPERED_LIMIT => Some("one agent is hampered"),
            _ => None,
        }
    }

    /// Whether every stripe has a shard to spare, as an agent that nothing is wrong with sees it.
    fn is_whole(&self) -> bool {
        let status = self.status();
        let none = |status: &Value, key: &str| status["stripes"][key].as_u64() == Some(0);
        status.is_ok_and(|status| none(&status, "endangered") && none(&status, "lost"))
    }

    /// The status as the first agent tells it that nothing is wrong with.
    pub(super) fn status(&self) -> Result<Value> {
        let sound = self.fleet.agents.iter().find(|agent| !self.is_struck(agent.index) && agent.is_running());
        sound.context("something is wrong with every agent")?.status()
    }

    fn strike(&mut self, fault: &Fault, index: usize) -> Result<String> {
        let count = self.fleet.agents.len();
        let agent = self.fleet.agents.get_mut(index).context("an agent")?;
        match fault.harm {
            Harm::Kill => agent.kill()?,
            Harm::Stop => agent.stop(true)?,
            Harm::FillDisk => {
                let filled = agent.disk.as_ref().context("no disk of its own")?.fill()?;
                let what = if agent.all_on_disk { "shards and ledger" } else { "shards" };
                return Ok(format!(" ({what}; the last {} MiB taken)", filled >> 20));
            }
            Harm::DamageShards(shards) => {
                let done = damage::damage(&agent.store, shards, &mut self.random)?;
                ensure!(!done.is_empty(), "it holds no shard yet");
                return Ok(format!(": {}", done.join("; ")));
            }
            Harm::SlowDisk => match &agent.disk {
                Some(disk) if Disk::can_slow() => disk.slow(true)?,
                _ => return Ok(" (stopped every other moment)".into()),
            },
            Harm::SlowLink => {
                let how = self.network()?.slow(index, true)?;
                return Ok(format!(" ({how})"));
            }
            _ => self.links(fault.harm, index, count, true)?,
        }
        Ok(String::new())
    }

    fn network(&mut self) -> Result<&mut super::host::Network> {
        self.fleet.network.as_mut().context("no network of its own")
    }

    fn links(&mut self, harm: Harm, agent: usize, count: usize, cut: bool) -> Result<()> {
        let network = self.network()?;
        match harm {
            Harm::Isolate | Harm::Deafen => {
                for other in (0..count).filter(|other| *other != agent) {
                    network.cut(other, agent, cut)?;
                    if harm == Harm::Isolate {
                        network.cut(agent, other, cut)?;
                    }
                }
                Ok(())
            }
            Harm::CutLink(other) => network.cut(other, agent, cut).and_then(|()| network.cut(agent, other, cut)),
            Harm::CutOneWay(other) => network.cut(other, agent, cut),
            Harm::LosePackets(percent) => network.lose(agent, if cut { percent } else { 0 }),
            _ => Ok(()),
        }
    }

    /// Looks after what is under way: undoes what has lasted long enough, takes back who is back. Called again and again.
    pub(super) fn tend(&mut self) -> Result<()> {
        self.bury()?;
        let mut still = Vec::new();
        for mut active in std::mem::take(&mut self.active) {
            if active.undone.is_none() && active.begun.elapsed() >= active.fault.lasts {
                self.undo(&active)?;
                active.undone = Some(Instant::now());
                if active.fault.harm.kind() == Kind::Flip && self.can_scrub {
                    active.mending = self.start_scrub(active.agent).ok();
                }
            } else if active.undone.is_none() && active.fault.harm == Harm::SlowDisk {
                self.stutter(active.agent)?;
            }
            if !self.is_over(&mut active)? {
                still.push(active);
            }
        }
        self.active = still;
        Ok(())
    }

    /// Where a disk cannot be made slow, its agent is: stopped and let go in turns.
    fn stutter(&mut self, index: usize) -> Result<()> {
        let agent = self.fleet.agents.get_mut(index).context("an agent")?;
        if agent.disk.is_none() || !Disk::can_slow() {
            let stopped = agent.is_stopped();
            agent.stop(!stopped)?;
        }
        Ok(())
    }

    /// Looks for agents that ended by themselves, and starts them again.
    fn bury(&mut self) -> Result<()> {
        for index in 0..self.fleet.agents.len() {
            let Some(ended) = self.fleet.agents.get_mut(index).map(|agent| agent.ended()).transpose()?.flatten() else {
                continue;
            };
            self.journal.violation(&format!("an agent ended by itself: {ended}"));
            self.fleet.restart(index)?;
        }
        Ok(())
    }

    fn undo(&mut self, active: &Active) -> Result<()> {
        let (index, count) = (active.agent, self.fleet.agents.len());
        let agent = self.fleet.agents.get_mut(index).context("an agent")?;
        match active.fault.harm {
            Harm::Kill => self.fleet.restart(index)?,
            Harm::Stop => agent.stop(false)?,
            Harm::FillDisk => agent.disk.as_ref().context("no disk of its own")?.empty()?,
            Harm::SlowDisk => match &agent.disk {
                Some(disk) if Disk::can_slow() => disk.slow(false)?,
                _ => agent.stop(false)?,
            },
            Harm::SlowLink => self.network()?.slow(index, false).map(drop)?,
            Harm::DamageShards(_) => {}
            harm => self.links(harm, index, count, false)?,
        }
        Ok(())
    }

    /// Whether an undone fault is over: its agent answers, others see it, damage is mended.
    fn is_over(&mut self, active: &mut Active) -> Result<bool> {
        let Some(undone) = active.undone else { return Ok(false) };
        if active.looked.elapsed() < LOOK_EVERY {
            return Ok(false);
        }
        active.looked = Instant::now();
        let is_damage = active.fault.harm.kind() == Kind::Flip;
        let mended = match active.mending.as_mut().map(|child| child.try_wait()).transpose()? {
            None => !is_damage,
            Some(None) => false,
            Some(Some(status)) if status.success() => true,
            // Some could not be mended yet, others being out: looked for again.
            Some(Some(_)) => {
                active.mending = self.start_scrub(active.agent).ok();
                false
            }
        };
        if mended && self.is_back(active.agent) {
            self.close(active, "back");
            return Ok(true);
        }
        let hopeless = is_damage && active.mending.is_none();
        if is_damage && (hopeless || undone.elapsed() > MEND_DEADLINE) {
            if let Some(mut child) = active.mending.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
            self.journal.tell(&format!("agent {}: its damage stays; it counts as out from now on", active.agent));
            // Damaged again, it is one agent damaged all along.
            self.unmended.entry(active.agent).or_insert(active.begun_us);
            return Ok(true);
        }
        if !is_damage && undone.elapsed() > BACK_DEADLINE {
            let status = self.status().map(|status| status["nodes"].to_string()).unwrap_or_default();
            self.journal.violation(&format!("agent {} is not back after {BACK_DEADLINE:?}: {status}", active.agent));
            return Ok(true);
        }
        Ok(false)
    }

    fn close(&mut self, active: &Active, what: &str) {
        let after = active.undone.map_or(0.0, |undone| undone.elapsed().as_secs_f32());
        self.journal.tell(&format!("agent {}: {what} {after:.1} s after {:?}", active.agent, active.fault.harm));
        self.spells.push(Spell {
            kind: active.fault.harm.kind(),
            agent: active.agent,
            is_out: active.fault.harm.is_out(),
            begun_us: active.begun_us,
            ended_us: self.journal.recorder.now_us(),
        });
    }

    fn is_back(&self, index: usize) -> bool {
        let Some(agent) = self.fleet.agents.get(index) else { return false };
        let name = format!("agent-{index}");
        let others = self.fleet.agents.iter().filter(|other| other.index != index && !self.is_struck(other.index));
        let seen = |other: &super::agents::Agent| {
            let status = other.status().ok()?;
            let nodes = status["nodes"].as_array()?;
            Some(nodes.iter().any(|node| node["name"] == name.as_str() && node["state"] == "up"))
        };
        agent.is_running() && agent.answers() && others.take(1).all(|other| seen(other) == Some(true))
    }

    fn start_scrub(&self, index: usize) -> Result<std::process::Child> {
        let agent = self.fleet.agents.get(index).context("an agent")?;
        let mut command = agent.command(self.fleet.network.as_ref());
        command.args(["scrub", "--wait", &format!("agent-{index}"), "--data"]).arg(&agent.data);
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        Ok(command.spawn()?)
    }

    /// Undoes everything at once and waits until everybody is back.
    pub(super) fn heal(&mut self) -> Result<()> {
        let now = Instant::now();
        for active in &mut self.active {
            active.fault.lasts = active.fault.lasts.min(now - active.begun);
        }
        let begin = Instant::now();
        while !self.active.is_empty() && begin.elapsed() < BACK_DEADLINE + MEND_DEADLINE {
            self.tend()?;
            std::thread::park_timeout(Duration::from_millis(100));
        }
        let ended_us = self.journal.recorder.now_us();
        for (agent, begun_us) in std::mem::take(&mut self.unmended) {
            self.spells.push(Spell { kind: Kind::Flip, agent, is_out: false, begun_us, ended_us });
        }
        Ok(())
    }
}

/// What a status says is not as it should be; `None` if all is well.
pub(super) fn unhealthy(status: &Value, agents: usize) -> Option<String> {
    let count = |key: &str| status["stripes"][key].as_u64().unwrap_or(u64::MAX);
    let up = up_in(status);
    let well = up == agents
        && status["quorum"] == true
        && ["degraded", "endangered", "lost"].iter().all(|key| count(key) == 0);
    (!well).then(|| format!("{up} of {agents} agents up, stripes {}, verdict {}", status["stripes"], status["verdict"]))
}
