//! The agents there are, and which of them is the idlest.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::FAILURES_IN_A_ROW;

/// An agent of the pool, as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is there now.
    pub online: bool,
    /// Types of the peerlets it offers; `None`: not known, which is worth a try.
    pub offers: Option<BTreeSet<String>>,
    /// How busy it is, 0 to 1000; `None`: not known.
    pub busy_permille: Option<u16>,
}

/// Who is there, and who belongs together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    /// All agents of the pool.
    pub agents: Vec<Agent>,
    /// Ids of each group's agents.
    pub groups: BTreeMap<String, Vec<String>>,
}

impl Directory {
    /// The agent somebody means by a name, an id or the end of one (its fingerprint).
    pub(crate) fn find(&self, named: &str) -> Result<&Agent, String> {
        if let Some(agent) = self.agents.iter().find(|agent| agent.id == named) {
            return Ok(agent);
        }
        let fits =
            |agent: &&Agent| agent.name == named || (named.len() >= FINGERPRINT_LEAST && agent.id.ends_with(named));
        let mut found = self.agents.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(agent), None) => Ok(agent),
            (Some(_), Some(_)) => Err(format!("several agents are called {named:?}; name it by its id")),
            (None, _) => {
                let names: Vec<&str> = self.agents.iter().map(|agent| agent.name.as_str()).take(20).collect();
                Err(format!("there is no agent {named:?}; there are {}", names.join(", ")))
            }
        }
    }
}

/// Characters of the end of an id, at least, that name an agent.
const FINGERPRINT_LEAST: usize = 6;

/// What is known of an agent from the flow's own runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Record {
    pub(crate) running: usize,
    pub(crate) done: usize,
    /// Failures since the last success.
    pub(crate) failures: u32,
}

/// The idlest of those: not one that this run was tried on or that only fails while there is another, then the one with the
/// fewest of the flow's runs, the least load known, the fewest runs done, and the first by name.
pub(crate) fn idlest<'a>(
    candidates: impl Iterator<Item = &'a Agent>,
    tried: &[String],
    records: &BTreeMap<String, Record>,
) -> Option<&'a Agent> {
    /// Load of an agent that does not tell: neither idle nor busy.
    const UNKNOWN_PERMILLE: u16 = 500;
    /// Less of a difference is chance, and says less than who has done how much.
    const STEP_PERMILLE: u16 = 100;
    candidates.min_by_key(|agent| {
        let record = records.get(&agent.id).copied().unwrap_or_default();
        (
            (tried.contains(&agent.id), record.failures >= FAILURES_IN_A_ROW),
            (record.running, agent.busy_permille.unwrap_or(UNKNOWN_PERMILLE) / STEP_PERMILLE, record.done),
            (agent.name.clone(), agent.id.clone()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, busy_permille: Option<u16>) -> Agent {
        Agent {
            id: format!("12D3KooW{name}xyz"),
            name: name.to_owned(),
            online: true,
            busy_permille,
            ..Agent::default()
        }
    }

    fn id(name: &str) -> String {
        agent(name, None).id
    }

    #[test]
    fn the_idlest_is_the_one_with_least_to_do() {
        let agents = [agent("a", Some(900)), agent("b", None), agent("c", Some(110)), agent("d", Some(150))];
        let record = |running, done, failures| Record { running, done, failures };
        let check = |tried: &[&str], records: &[(&str, Record)], expected: &str| {
            let tried: Vec<String> = tried.iter().map(|name| id(name)).collect();
            let records = records.iter().map(|(name, record)| (id(name), *record)).collect();
            let found = idlest(agents.iter(), &tried, &records).map(|agent| agent.name.as_str());
            assert_eq!(found, Some(expected), "{tried:?} {records:?}");
        };
        check(&[], &[], "c");
        check(&["c"], &[], "d");
        check(&["c", "d"], &[], "b");
        check(&["a", "b", "c", "d"], &[], "c");
        check(&[], &[("c", record(1, 0, 0)), ("d", record(1, 0, 0))], "b");
        // As busy as the other, but for chance; it has done less.
        check(&[], &[("c", record(0, 1, 0))], "d");
        check(&[], &[("c", record(0, 0, 2)), ("d", record(0, 0, 1))], "d");
    }

    #[test]
    fn agents_are_found_by_name_id_and_the_end_of_it() {
        let twins = Agent { id: "12D3KooWother1".into(), ..agent("a", None) };
        let directory = Directory { agents: vec![agent("a", None), agent("b", None), twins], groups: BTreeMap::new() };
        assert_eq!(directory.find("b").map(|agent| agent.id.clone()), Ok(id("b")));
        assert_eq!(directory.find(&id("a")).map(|agent| agent.id.clone()), Ok(id("a")));
        assert_eq!(directory.find("other1").map(|agent| agent.name.clone()), Ok("a".to_owned()));
        assert!(directory.find("a").expect_err("two").contains("several agents are called"));
        assert!(directory.find("z").expect_err("none").contains("there are a, b, a"));
    }
}
