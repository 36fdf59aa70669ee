//! Checks everything the ledger promises of itself by recounting it. Reads every row: for tests, simulation, and a
//! look at a ledger under suspicion.

mod care;
mod contents;
mod namespace;
mod rights;
mod trash;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use crate::tables::{self, Table};
use crate::{AgentRecord, KvError, KvRead, Lock, LockScope, Node, query};

/// Whether all invariants hold; if not, a sentence on the first that does not.
///
/// Checked are: that the namespace is a forest whose roots are the volumes; names, keys and counters of volumes;
/// references to contents and stripes against what refers to them; that no stripe has one agent twice; what members
/// hold; groups and rights against members and users; properties, uploads and locks against the nodes they belong to; the trash, its paths and totals; the pool-wide
/// counters.
///
/// # Errors
/// The first invariant that does not hold, or that a row cannot be read.
pub fn validate(kv: &dyn KvRead) -> Result<(), String> {
    Validator { kv }.all().map_err(|fault| match fault {
        Fault::Broken(sentence) => sentence,
        Fault::Kv(error) => error.to_string(),
    })
}

enum Fault {
    Broken(String),
    Kv(KvError),
}

impl From<KvError> for Fault {
    fn from(error: KvError) -> Self {
        Self::Kv(error)
    }
}

type Check<T = ()> = Result<T, Fault>;

fn ensure(holds: bool, sentence: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Fault::Broken(sentence())) }
}

struct Validator<'a> {
    kv: &'a dyn KvRead,
}

impl Validator<'_> {
    fn all(&self) -> Check {
        query::check_format(self.kv)?;
        let nodes = self.nodes()?;
        self.volumes(&nodes)?;
        self.properties(&nodes)?;
        let trash = self.trash()?;
        let highest_list = self.chunk_lists(&nodes, &trash)?;
        self.contents()?;
        self.garbage()?;
        self.care()?;
        self.locks()?;
        self.members()?;
        self.rights()?;
        self.meta(&nodes, &trash, highest_list)
    }

    /// All rows of a table: what follows the table's number in the key, and the value.
    fn rows<Row: DeserializeOwned>(&self, table: Table) -> Check<Vec<(Vec<u8>, Row)>> {
        let prefix = table.key(&[]);
        let mut rows = Vec::new();
        tables::visit(self.kv, table, &prefix, &prefix, &mut |key, row| {
            rows.push((key.get(1..).unwrap_or_default().to_vec(), row));
            Ok(true)
        })?;
        Ok(rows)
    }

    fn count(&self, table: Table) -> Check<u64> {
        let (mut count, prefix) = (0, table.key(&[]));
        self.kv.scan(&prefix, &tables::after_prefix(&prefix), &mut |_, _| {
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }

    fn locks(&self) -> Check {
        let locks = self.rows::<Lock>(tables::LOCKS)?;
        for (key, lock) in &locks {
            let expected = tables::lock_key(&lock.path, &lock.token);
            ensure(expected.get(1..) == Some(key.as_slice()), || format!("lock {} is not under its key", lock.token))?;
            let there = query::node(self.kv, &lock.path)?.is_some();
            ensure(there, || format!("lock {} is on {}, which is not there", lock.token, lock.path))?;
            let covering = query::locks_covering(self.kv, &lock.path)?;
            for other in covering.iter().filter(|other| *other != lock && covering.contains(lock)) {
                let both_shared = lock.scope == LockScope::Shared && other.scope == LockScope::Shared;
                ensure(both_shared, || format!("locks {} and {} exclude each other", lock.token, other.token))?;
            }
        }
        Ok(())
    }

    fn members(&self) -> Check {
        let members = self.rows::<AgentRecord>(tables::AGENTS)?;
        let names: BTreeSet<String> = members.iter().map(|(_, member)| member.name.to_lowercase()).collect();
        ensure(names.len() == members.len(), || "two members have one name".to_owned())?;
        for (key, member) in &members {
            ensure(key.as_slice() == member.id.0, || format!("member {} is not under its id", member.name))?;
        }
        Ok(())
    }

    fn meta(&self, nodes: &namespace::Nodes, trash: &[Node], highest_list: u64) -> Check {
        let meta = query::meta(self.kv)?;
        for (what, counted, rows) in [
            ("locks", meta.locks, self.count(tables::LOCKS)?),
            ("uploads", meta.uploads, self.count(tables::UPLOADS)?),
            ("outcomes", meta.outcomes_kept, self.count(tables::OUTCOMES)?),
        ] {
            ensure(counted == rows, || format!("{rows} {what} are counted as {counted}"))?;
        }
        let all = || nodes.all.values().chain(trash);
        let inode = all().map(|node| node.inode.0).max().unwrap_or(0).max(highest_list);
        ensure(inode < meta.next_inode, || format!("inode {inode} is yet to be given"))?;
        let version = all().map(|node| node.version).max().unwrap_or(0);
        ensure(version < meta.next_version, || format!("version {version} is yet to be given"))
    }
}
