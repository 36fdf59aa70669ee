//! The layering rules of `docs/ARCHITECTURE.md`, checked: what pure crates may reach, and which crate may know which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::steps::{cargo, workspace_root};

/// Crates that decide and touch nothing.
const PURE: &[&str] = &["dci-proto", "shoal-ledger", "shoal-placement", "shoal-care", "shoal-flow", "shoal-backup"];

/// Folders of other crates that decide and touch nothing.
const PURE_FOLDERS: &[&str] = &[
    "peerlets/host/src/core",
    "peerlets/host/src/framing",
    "peerlets/chat/src/core",
    "peerlets/whiteboard/src/core",
    "peerlets/files/src/format",
    "peerlets/host/src/core",
    "peerlets/host/src/framing",
    "agent/app/src/sweep",
];

/// Packages that no pure crate may have among its dependencies, however far down.
const IMPURE_PACKAGES: &[&str] =
    &["tokio", "libp2p", "mio", "socket2", "rand", "getrandom", "redb", "rustix", "tempfile", "notify", "rustls"];

/// What the source of a pure crate may not name, tests excepted.
const IMPURE_NAMES: &[&str] = &[
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "SystemTime::now",
    "Instant::now",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "HashMap",
    "HashSet",
    "thread_rng",
    "new_v4",
];

/// Which crates of ours each crate may depend on. `shoal` and what is for development may know everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("dci-proto", &[]),
    ("shoal-ledger", &["dci-proto"]),
    ("shoal-placement", &["dci-proto"]),
    ("shoal-care", &["dci-proto", "shoal-ledger", "shoal-placement"]),
    ("shoal-files", &[]),
    ("shoal-store", &["dci-proto", "shoal-files"]),
    ("shoal-volume", &["dci-proto", "shoal-ledger", "shoal-placement"]),
    ("shoal-dav", &["dci-proto", "shoal-ledger", "shoal-placement", "shoal-volume"]),
    ("shoal-backup", &["dci-proto"]),
    ("rustic_cdc", &[]),
    ("shoal-archive", &["shoal-backup"]),
    ("shoal-backup-service", &["dci-proto", "shoal-archive", "shoal-backup", "shoal-files"]),
    ("shoal-flow", &[]),
    ("shoal-client", &[]),
    ("shoal-mailbox", &["dci-proto", "shoal-files"]),
    ("shoal-peerlets", &["dci-proto"]),
    ("shoal-peerlet-program", &["dci-proto"]),
    ("shoal-run", &["dci-proto", "shoal-peerlet-program"]),
    ("shoal-chat", &["dci-proto", "shoal-peerlet-program"]),
    ("shoal-whiteboard", &["dci-proto", "shoal-peerlet-program"]),
    ("shoal-file-exchange", &["dci-proto", "shoal-peerlet-program"]),
    ("shoal-net", &["dci-proto"]),
    ("shoal-consensus", &["dci-proto", "shoal-files", "shoal-ledger"]),
    ("shoal-simulation", &["dci-proto", "shoal-ledger", "shoal-placement", "shoal-care"]),
];
const UNRESTRICTED: &[&str] = &["shoal", "shoal-testkit", "xtask"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<ResolvedNode>,
}

#[derive(Deserialize)]
struct ResolvedNode {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// Normal (not build, not test) dependencies of every package. By id: versions of one package reach different things.
struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
    names: BTreeMap<String, String>,
    /// Ids and manifests of our own crates, by name.
    members: BTreeMap<String, Member>,
}

struct Member {
    id: String,
    manifest_path: String,
}

impl Graph {
    fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.get(id).map_or(id, String::as_str)
    }

    fn dependencies<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a String> {
        self.edges.get(id).into_iter().flatten()
    }
}

pub(crate) fn check() -> Result<()> {
    let graph = load()?;
    let mut faults = Vec::new();
    check_members(&graph, &mut faults);
    for pure in PURE {
        check_reach(&graph, pure, &mut faults);
        let member = graph.members.get(*pure).with_context(|| format!("{pure} is not in the workspace"))?;
        let source = Path::new(&member.manifest_path).parent().unwrap_or(Path::new("")).join("src");
        check_source(&source, &mut faults)?;
    }
    for pure in PURE_FOLDERS {
        check_source(&workspace_root().join(pure), &mut faults)?;
    }
    if !faults.is_empty() {
        bail!("layering rules are broken:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

fn load() -> Result<Graph> {
    let output = cargo().args(["metadata", "--format-version", "1", "--locked"]).output().context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata's answer")?;
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in &metadata.resolve.nodes {
        let normal = node.deps.iter().filter(|d| d.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        edges.entry(node.id.clone()).or_default().extend(normal.map(|d| d.pkg.clone()));
    }
    let names = metadata.packages.iter().map(|p| (p.id.clone(), p.name.clone())).collect();
    let members = metadata
        .packages
        .iter()
        .filter(|p| metadata.workspace_members.contains(&p.id))
        .map(|p| (p.name.clone(), Member { id: p.id.clone(), manifest_path: p.manifest_path.clone() }))
        .collect();
    Ok(Graph { edges, names, members })
}

fn check_members(graph: &Graph, faults: &mut Vec<String>) {
    for (member, own) in &graph.members {
        if UNRESTRICTED.contains(&member.as_str()) {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == member) else {
            faults.push(format!("{member} has no line in the table of who may know whom"));
            continue;
        };
        for dependency in graph.dependencies(&own.id).map(|id| graph.name(id)) {
            if graph.members.contains_key(dependency) && !allowed.contains(&dependency) {
                faults.push(format!("{member} may not depend on {dependency}"));
            }
        }
    }
}

fn check_reach(graph: &Graph, start: &str, faults: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<String> = graph.members.get(start).map(|member| member.id.clone()).into_iter().collect();
    while let Some(package) = todo.pop() {
        let name = graph.name(&package);
        if IMPURE_PACKAGES.contains(&name) {
            faults.push(format!("{start} is pure but reaches {name}"));
        }
        for next in graph.dependencies(&package) {
            if seen.insert(next.clone()) {
                todo.push(next.clone());
            }
        }
    }
}

fn check_source(folder: &Path, faults: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            check_source(&path, faults)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            faults.extend(impure_names(&text).map(|(line, name)| {
                let shown = path.strip_prefix(workspace_root()).unwrap_or(&path).display().to_string();
                format!("{shown}:{line} is pure but names {name}")
            }));
        }
    }
    Ok(())
}

/// Lines of code, up to the file's tests, that name what is impure.
fn impure_names(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    text.lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .flat_map(|(index, line)| {
            IMPURE_NAMES.iter().filter(move |name| line.contains(*name)).map(move |name| (index + 1, *name))
        })
}

#[cfg(test)]
mod tests {
    use super::impure_names;

    #[test]
    fn a_clock_in_pure_code_is_found_and_in_its_tests_is_not() {
        let text = "//! std::fs in words\nfn f() { let t = Instant::now(); }\n#[cfg(test)]\nmod t { use std::fs; }";
        assert_eq!(impure_names(text).collect::<Vec<_>>(), [(2, "Instant::now")]);
    }
}
