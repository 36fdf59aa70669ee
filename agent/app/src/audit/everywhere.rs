//! The audit logs of all agents, asked for by one of them: newest first, by each agent's own clock.

use std::cmp::Reverse;
use std::time::Duration;

use dci_proto::AgentId;
use dci_proto::message::UserName;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use shoal_ledger::AgentRecord;
use shoal_net::Lane;

use super::reading::PAGE_LIMIT;
use super::{AuditEntry, AuditPage, AuditQuery};
use crate::context::AgentContext;
use crate::error::AgentError;
use crate::wire::{self, Method};

/// How long an agent is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Agents asked at once.
const ASKED_AT_ONCE: usize = 16;

/// What an agent is asked, on behalf of an admin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditAsk {
    /// Who wants to know.
    pub(crate) user: String,
    /// What.
    pub(crate) query: AuditQuery,
}

/// An agent whose log was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditedAgent {
    /// Its id.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
}

/// An agent that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentAgent {
    /// Its id.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// Why, for people.
    pub why: String,
}

/// What the logs of all agents say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditEverywhere {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// What `before_ms` has to be for those that follow; missing: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before_ms: Option<u64>,
    /// Lines met on the way that cannot be read.
    pub damaged: u64,
    /// Whose logs these are.
    pub agents: Vec<AuditedAgent>,
    /// Who did not answer: what was done there is not among the entries.
    pub silent: Vec<SilentAgent>,
}

/// Asks all agents on behalf of `user`, who is an admin here.
///
/// # Errors
/// If the local copy of the ledger cannot be read.
pub(crate) async fn everywhere(
    context: &AgentContext,
    user: &UserName,
    query: &AuditQuery,
) -> Result<AuditEverywhere, AgentError> {
    let ask = AuditAsk { user: user.as_str().to_owned(), query: query.clone() };
    let asked = context.members()?.into_iter().map(|member| {
        let ask = &ask;
        async move {
            let said = page_of(context, member.id, ask).await;
            (member, said)
        }
    });
    let mut said: Vec<(AgentRecord, Result<AuditPage, String>)> =
        futures::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).collect().await;
    said.sort_by(|(one, _), (other, _)| (&one.name, one.id).cmp(&(&other.name, other.id)));
    let (mut all, mut pages) = (AuditEverywhere::default(), Vec::new());
    for (AgentRecord { id: agent, name, .. }, said) in said {
        match said {
            Ok(page) => {
                pages.push(page);
                all.agents.push(AuditedAgent { agent, name });
            }
            Err(why) => all.silent.push(SilentAgent { agent, name, why }),
        }
    }
    all.damaged = pages.iter().map(|page| page.damaged).sum();
    (all.entries, all.next_before_ms) = merged(pages, query.limit.unwrap_or(PAGE_LIMIT));
    Ok(all)
}

async fn page_of(context: &AgentContext, agent: AgentId, ask: &AuditAsk) -> Result<AuditPage, String> {
    if agent == context.agent {
        return context.audit.page(ask.query.clone()).await.map_err(|error| error.to_string());
    }
    if !context.health.answers(agent) {
        return Err("it does not answer now".to_owned());
    }
    let request = wire::request(Method::Audit, ask).map_err(|error| error.to_string())?;
    let response = context.network.call(agent, Lane::Foreground, request, ANSWER_TIMEOUT).await;
    let response = response.map_err(|error| error.to_string())?;
    wire::check(&response).map_err(|error| error.to_string())?;
    let page: AuditPage = serde_json::from_slice(&response.body).map_err(|error| error.to_string())?;
    // Everyone speaks of what was done at themselves only.
    if page.entries.iter().any(|entry| entry.agent != agent) {
        return Err("it speaks of what was done at other agents".to_owned());
    }
    Ok(page)
}

/// Entries of all pages in one, newest first, and the time before which the next ones are. What is older than the last of a page that
/// is not an agent's last one waits for the next, since there may be more of that time.
fn merged(pages: Vec<AuditPage>, limit: usize) -> (Vec<AuditEntry>, Option<u64>) {
    let cut = pages.iter().filter(|page| page.next.is_some());
    let whole_from_ms = cut.filter_map(|page| page.entries.iter().map(|entry| entry.at_ms).min()).max();
    let mut entries: Vec<AuditEntry> = pages.into_iter().flat_map(|page| page.entries).collect();
    entries.sort_by_key(|entry| (Reverse(entry.at_ms), entry.agent, Reverse(entry.place)));
    let mut count = entries.len();
    if let Some(from_ms) = whole_from_ms {
        count = entries.partition_point(|entry| entry.at_ms > from_ms);
        // All at one moment: more of it cannot be told apart by time.
        if count == 0 {
            count = entries.partition_point(|entry| entry.at_ms >= from_ms);
        }
    }
    if count > limit.max(1) {
        // Whatever is of the same moment as the last one goes along.
        let last_ms = entries.get(limit.max(1) - 1).map_or(0, |entry| entry.at_ms);
        count = count.min(entries.partition_point(|entry| entry.at_ms >= last_ms));
    }
    let more = whole_from_ms.is_some() || count < entries.len();
    entries.truncate(count);
    let next = entries.last().map(|last| last.at_ms).filter(|_| more);
    (entries, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Act, Decision};

    /// An agent's page: places and times, newest first; `more`: it is not the last.
    fn page(agent: u8, entries: &[(u64, u64)], more: bool) -> AuditPage {
        let entry = |(place, at_ms): &(u64, u64)| {
            let agent = AgentId([agent; 32]);
            let kind = "run".parse().expect("a type");
            let act = Act { user: None, from: agent, kind, message: None, what: String::new() };
            AuditEntry::new(*place, *at_ms, agent, &act, None, Decision::Begun)
        };
        let next = entries.last().map(|(place, _)| *place).filter(|_| more);
        AuditPage { entries: entries.iter().map(entry).collect(), next, damaged: 0 }
    }

    fn told(pages: Vec<AuditPage>, limit: usize) -> (Vec<(u8, u64)>, Option<u64>) {
        let (entries, next) = merged(pages, limit);
        (entries.iter().map(|entry| (entry.agent.0[0], entry.place)).collect(), next)
    }

    #[test]
    fn entries_of_all_agents_are_in_the_order_of_their_times() {
        let pages = || vec![page(1, &[(3, 50), (2, 30), (1, 10)], false), page(2, &[(8, 40), (7, 30)], false)];
        assert_eq!(told(pages(), 10), (vec![(1, 3), (2, 8), (1, 2), (2, 7), (1, 1)], None));
        assert_eq!(told(pages(), 2), (vec![(1, 3), (2, 8)], Some(40)));
        assert_eq!(told(pages(), 3), (vec![(1, 3), (2, 8), (1, 2), (2, 7)], Some(30)), "none of a moment is lost");
        assert_eq!(told(Vec::new(), 10), (Vec::new(), None));
    }

    #[test]
    fn what_is_older_than_an_agent_has_told_waits_for_the_next_page() {
        let pages = vec![page(1, &[(9, 90), (8, 80)], true), page(2, &[(3, 85), (2, 70), (1, 60)], false)];
        assert_eq!(told(pages, 10), (vec![(1, 9), (2, 3)], Some(85)));
        let of_one_moment = vec![page(1, &[(9, 90), (8, 90)], true), page(2, &[(3, 50)], false)];
        assert_eq!(told(of_one_moment, 10), (vec![(1, 9), (1, 8)], Some(90)));
    }
}
