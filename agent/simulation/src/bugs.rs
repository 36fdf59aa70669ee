//! Faults of Shoal itself, planted to prove that the checkers find them (feature `planted-bugs`, `--bug NAME`).

use std::fmt;
use std::str::FromStr;

/// A planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A holder acknowledges a shard before its disk has it.
    AckBeforeFsync,
    /// The old holder is made to drop a shard once it is copied, before the ledger counts on the copy.
    DeleteSourceFirst,
    /// A writer puts two shards of a stripe on one agent and says so.
    TwoShardsOneAgent,
    /// The sweep for orphans measures its grace by the computer's own wall clock.
    WallClockGrace,
    /// A shard the ledger does not name goes at once.
    AbsenceIsProof,
    /// An order to drop is judged by the holder's copy of the ledger as it happens to be.
    DropWithoutReadPoint,
    /// A moved shard is kept as it came, its hash unchecked.
    CopyUnverified,
    /// A writer counts a shard as durable whose agent did not answer.
    CountSuspect,
    /// A request is answered from a copy of the ledger without a read point.
    ReadWithoutReadPoint,
}

/// All of them, by the name `--bug` takes.
pub const BUGS: &[(&str, Bug)] = &[
    ("ack-before-fsync", Bug::AckBeforeFsync),
    ("delete-source-first", Bug::DeleteSourceFirst),
    ("two-shards-one-agent", Bug::TwoShardsOneAgent),
    ("wall-clock-grace", Bug::WallClockGrace),
    ("absence-is-proof", Bug::AbsenceIsProof),
    ("drop-without-read-point", Bug::DropWithoutReadPoint),
    ("copy-unverified", Bug::CopyUnverified),
    ("count-suspect", Bug::CountSuspect),
    ("read-without-read-point", Bug::ReadWithoutReadPoint),
];

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = BUGS.iter().find(|(_, bug)| bug == self).map_or("?", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bug = BUGS.iter().find(|(name, _)| *name == text).map(|(_, bug)| *bug);
        bug.ok_or_else(|| {
            let names: Vec<&str> = BUGS.iter().map(|(name, _)| *name).collect();
            format!("{text} is no planted bug; there are: {}", names.join(", "))
        })
    }
}
