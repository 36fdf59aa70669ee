//! What the keeper would do, told without doing it.

use std::collections::BTreeMap;

use shoal_ledger::{KvError, KvRead, query};

use crate::balance::Budgets;
use crate::sweep::{Findings, Queue, Sweep};
use crate::{AgentFacts, Situation, Wanted};

/// What the keeper would do if the agents were as said. Looks at every stripe: takes seconds in a large pool.
///
/// # Errors
/// If the view cannot be read.
pub fn plan(view: &dyn KvRead, agents: &[AgentFacts], wanted: &Wanted) -> Result<Findings, KvError> {
    let situation = Situation::new(agents, wanted.clone());
    let budgets = Budgets::new(&situation, &BTreeMap::new(), &BTreeMap::new());
    let mut sweep = Sweep::new(query::position(view)?, budgets);
    sweep.go_on(view, &situation, usize::MAX, &mut Queue::default(), &|_| false)?;
    Ok(sweep.findings)
}
