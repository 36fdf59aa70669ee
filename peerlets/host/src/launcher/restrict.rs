//! Which files a program may see, whether it may open connections, and whom it may send signals: Landlock, as far as the kernel
//! has it (files since Linux 5.13, connections since 6.7, signals since 6.12).

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::spec::Spec;

/// What is asked for; a kernel that has less gives less.
const WANTED: ABI = ABI::V6;
/// What every program may read and run: the system's.
const SYSTEM: [&str; 12] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/proc",
    "/sys/devices/system/cpu",
];
/// Where names of hosts are looked up, for programs that may open connections: what `/etc/resolv.conf` leads to.
const NAMES: [&str; 2] = ["/run/systemd/resolve", "/run/resolvconf"];
/// Devices that every program may read and write.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// How far the kernel keeps programs to the files, connections and signals they may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// All of it.
    Full,
    /// Some: an older kernel.
    Partial,
    /// Nothing; only the user's own permissions count.
    None,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::None => "none",
        })
    }
}

impl FromStr for Protection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Full, Self::Partial, Self::None];
        all.into_iter().find(|one| one.to_string() == text).ok_or_else(|| format!("{text:?} is no protection"))
    }
}

/// Restricts this process for good.
pub(super) fn restrict(spec: &Spec) -> Result<Protection, String> {
    let system = SYSTEM.iter().chain(NAMES.iter().filter(|_| spec.network)).map(PathBuf::from);
    let read: Vec<PathBuf> =
        system.chain([spec.folder.clone(), spec.program.clone()]).chain(spec.read.iter().cloned()).collect();
    let write: Vec<&Path> = spec.write.iter().chain([&spec.scratch]).map(PathBuf::as_path).collect();
    rules(spec.network, &read, &write).map_err(|error| format!("cannot restrict what the program sees: {error}"))
}

fn rules(network: bool, read: &[PathBuf], write: &[&Path]) -> Result<Protection, RulesetError> {
    let all = AccessFs::from_all(WANTED);
    let device: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile;
    let mut ruleset = Ruleset::default().handle_access(all)?.scope(Scope::from_all(WANTED))?;
    if !network {
        ruleset = ruleset.handle_access(AccessNet::from_all(WANTED))?;
    }
    let created: RulesetCreated = ruleset
        .create()?
        .add_rules(path_beneath_rules(read, AccessFs::from_read(WANTED)))?
        .add_rules(path_beneath_rules(write, all))?
        .add_rules(path_beneath_rules(DEVICES, device))?;
    Ok(match created.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Protection::Full,
        RulesetStatus::PartiallyEnforced => Protection::Partial,
        RulesetStatus::NotEnforced => Protection::None,
    })
}

/// Says on standard output what the kernel offers.
pub(super) fn probe() -> Result<u8, String> {
    let protection = rules(false, &[], &[]).map_err(|error| error.to_string())?;
    write!(std::io::stdout(), "{protection}").map_err(|error| error.to_string())?;
    Ok(0)
}
