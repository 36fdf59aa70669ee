//! What will go wrong, when and to whom: drawn from the seed alone, before anything runs.
//!
//! Never are more agents out at once than a pool that survives two can do without. Damage to shards is done only while
//! nothing else is wrong, and counts its agent as out until the pool has healed.

use std::fmt;
use std::time::Duration;

use shoal_testkit::RandomBytes;

/// Agents that may be out at once: what the pool's policy survives.
pub(super) const OUT_LIMIT: usize = 2;
/// What is merely slow or lossy, not out, at once.
pub(super) const HAMPERED_LIMIT: usize = 1;
/// How long an agent is taken to be out beyond its fault, for planning; the run itself waits until it is back.
const RECOVERY: Duration = Duration::from_secs(6);
/// How long a pool is taken to need to heal damage, for planning.
const HEALING: Duration = Duration::from_secs(45);
/// Nothing goes wrong in this time at the beginning.
const QUIET: Duration = Duration::from_secs(4);

/// A kind of fault, as `--faults` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Kind {
    /// `kill -9`, and a restart later.
    Kill,
    /// SIGSTOP, and SIGCONT later.
    Stop,
    /// A disk filled to the brim, and emptied later.
    Full,
    /// Shard files with flipped bits, truncated, removed, swapped.
    Flip,
    /// A disk that takes its time.
    Slow,
    /// Links that are cut, cut one way, lossy or slow.
    Net,
}

impl Kind {
    /// How often it is drawn beside the others. Damage is rare: it waits for quiet, and others wait for it.
    fn weight(self) -> usize {
        match self {
            Self::Kill | Self::Net => 10,
            Self::Stop => 8,
            Self::Full | Self::Slow => 6,
            Self::Flip => 1,
        }
    }
}

/// What exactly is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    Kill,
    Stop,
    FillDisk,
    /// So many shards are damaged.
    DamageShards(usize),
    SlowDisk,
    /// Nobody reaches it, it reaches nobody.
    Isolate,
    /// What is sent to it arrives nowhere; what it sends arrives.
    Deafen,
    /// The link to this one other agent is cut.
    CutLink(usize),
    /// What that other agent sends to this one is lost; the way back works.
    CutOneWay(usize),
    /// So many of a hundred packets to it are lost.
    LosePackets(u8),
    /// Its link carries little, late.
    SlowLink,
}

impl Harm {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Kill => Kind::Kill,
            Self::Stop => Kind::Stop,
            Self::FillDisk => Kind::Full,
            Self::DamageShards(_) => Kind::Flip,
            Self::SlowDisk => Kind::Slow,
            _ => Kind::Net,
        }
    }

    /// Whether the agent counts as out; else it is merely hampered.
    pub(super) fn is_out(self) -> bool {
        !matches!(self, Self::SlowDisk | Self::LosePackets(_) | Self::SlowLink)
    }
}

/// Who is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// This one.
    Agent(usize),
    /// Whoever leads the ledger at that time; this one if nobody is known to.
    LeaderElse(usize),
}

impl Target {
    fn agent(self) -> usize {
        match self {
            Self::Agent(agent) | Self::LeaderElse(agent) => agent,
        }
    }
}

/// One thing that will go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// When, since the clients began.
    pub(super) at: Duration,
    /// For how long; damage lasts until it is mended.
    pub(super) lasts: Duration,
    pub(super) harm: Harm,
    pub(super) target: Target,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.target {
            Target::Agent(agent) => format!("agent {agent}"),
            Target::LeaderElse(_) => "the leader".to_owned(),
        };
        write!(f, "{:?} on {who} for {:.1} s", self.harm, self.lasts.as_secs_f32())
    }
}

/// The faults of a run.
pub(super) fn draw(seed: u64, length: Duration, agents: usize, kinds: &[Kind]) -> Vec<Fault> {
    let mut random = RandomBytes::new(seed);
    let mut below = |limit: u64| random.next_u64() % limit.max(1);
    let kinds_by_weight: Vec<Kind> = kinds.iter().flat_map(|kind| vec![*kind; kind.weight()]).collect();
    let mut plan: Vec<Fault> = Vec::new();
    let mut now = QUIET;
    while now < length && !kinds.is_empty() {
        now += Duration::from_millis(200 + below(2_500));
        let kind = pick(&kinds_by_weight, below(u64::MAX));
        let agent = below(agents as u64) as usize;
        let other = (agent + 1 + below(agents as u64 - 1) as usize) % agents;
        let harm = match kind {
            Kind::Kill => Harm::Kill,
            Kind::Stop => Harm::Stop,
            Kind::Full => Harm::FillDisk,
            Kind::Flip => Harm::DamageShards(4 + below(12) as usize),
            Kind::Slow => Harm::SlowDisk,
            Kind::Net => match below(6) {
                0 => Harm::Isolate,
                1 => Harm::Deafen,
                2 => Harm::CutLink(other),
                3 => Harm::CutOneWay(other),
                4 => Harm::LosePackets(2 + below(15) as u8),
                _ => Harm::SlowLink,
            },
        };
        // Short ones nobody should notice, and some longer than the pool waits before it repairs.
        let lasts = Duration::from_millis(if below(4) == 0 { 15_000 + below(30_000) } else { 1_000 + below(9_000) });
        let leader = matches!(harm, Harm::Kill | Harm::Stop | Harm::Isolate) && below(4) == 0;
        let target = if leader { Target::LeaderElse(agent) } else { Target::Agent(agent) };
        if harm.kind() == Kind::Flip {
            // Damage waits until nothing else is wrong.
            let quiet = plan.iter().map(|fault| fault.at + planned(fault)).max().unwrap_or_default();
            now = now.max(quiet);
        }
        let fault = Fault { at: now, lasts, harm, target };
        if now < length && fits(&plan, &fault) {
            plan.push(fault);
        }
    }
    plan
}

fn pick(kinds: &[Kind], random: u64) -> Kind {
    let index = random % kinds.len().max(1) as u64;
    kinds.get(index as usize).copied().unwrap_or(Kind::Kill)
}

fn planned(fault: &Fault) -> Duration {
    match fault.harm {
        Harm::DamageShards(_) => HEALING,
        _ => fault.lasts + RECOVERY,
    }
}

fn fits(plan: &[Fault], new: &Fault) -> bool {
    let active: Vec<&Fault> = plan.iter().filter(|fault| fault.at + planned(fault) > new.at).collect();
    let alike = active.iter().filter(|fault| fault.harm.is_out() == new.harm.is_out()).count();
    let limit = if new.harm.is_out() { OUT_LIMIT } else { HAMPERED_LIMIT };
    alike < limit && active.iter().all(|fault| fault.target.agent() != new.target.agent())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Kind; 6] = [Kind::Kill, Kind::Stop, Kind::Full, Kind::Flip, Kind::Slow, Kind::Net];
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_seed_gives_the_same_plan_each_time_and_another_seed_another() {
        assert_eq!(draw(7, HOUR, 6, &ALL), draw(7, HOUR, 6, &ALL));
        assert_ne!(draw(7, HOUR, 6, &ALL), draw(8, HOUR, 6, &ALL));
    }

    #[test]
    fn an_hour_has_all_kinds_and_never_more_out_than_survived() {
        for seed in 0..20 {
            let plan = draw(seed, HOUR, 6, &ALL);
            for kind in ALL {
                assert!(plan.iter().any(|fault| fault.harm.kind() == kind), "seed {seed}: no {kind:?}");
            }
            for fault in &plan {
                let active = plan.iter().filter(|other| {
                    other.harm.is_out() && other.at <= fault.at && other.at + planned(other) > fault.at
                });
                assert!(active.count() <= OUT_LIMIT, "seed {seed}: {fault}");
                assert!(fault.at < HOUR, "seed {seed}: {fault}");
            }
        }
    }

    #[test]
    fn damage_is_done_only_while_nothing_else_is_wrong() {
        let plan = draw(3, HOUR, 6, &ALL);
        for (index, damage) in plan.iter().enumerate().filter(|(_, fault)| fault.harm.kind() == Kind::Flip) {
            let before = &plan[..index];
            assert!(before.iter().all(|fault| fault.at + planned(fault) <= damage.at), "{damage}");
        }
    }
}
