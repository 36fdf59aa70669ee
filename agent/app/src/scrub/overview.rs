//! The scrubs of all agents, asked for by one of them.

use std::sync::Arc;
use std::time::Duration;

use dci_proto::AgentId;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use shoal_ledger::AgentRecord;
use shoal_net::Lane;

use super::names;
use super::report::ScrubReport;
use crate::context::AgentContext;
use crate::error::AgentError;
use crate::wire::{self, Method, ScrubAsk};

/// How long an agent is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The scrub of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubView {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// What it says; `None` if it does not answer.
    pub report: Option<ScrubReport>,
    /// Why it says nothing.
    pub error: Option<String>,
}

/// The scrubs of agents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScrubOverview {
    /// One an agent that holds shards, by name.
    pub agents: Vec<ScrubView>,
}

/// Asks `node`, or all agents that hold shards, how their scrubs stand; `ask.start`: has them read all shards now.
///
/// # Errors
/// If no agent is called that, or the local copy of the ledger cannot be read.
pub(crate) async fn overview(
    context: &AgentContext,
    node: Option<&str>,
    ask: ScrubAsk,
) -> Result<ScrubOverview, AgentError> {
    let mut members = match node {
        Some(node) => vec![context.member(node)?],
        None => context.members()?,
    };
    members.retain(|member| member.roles.store);
    members.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
    let mut agents = join_all(members.into_iter().map(|member| view_of(context, member, ask))).await;
    if !ask.brief {
        name_all(context, &mut agents).await;
    }
    Ok(ScrubOverview { agents })
}

async fn view_of(context: &AgentContext, member: AgentRecord, ask: ScrubAsk) -> ScrubView {
    let said = if member.id == context.agent {
        let scrubber = context.scrubber.as_ref().ok_or_else(|| "it holds no shards".to_owned());
        scrubber.map(|scrubber| scrubber.answer(ask))
    } else {
        report_of(context, member.id, ask).await
    };
    let (report, error) = match said {
        Ok(report) => (Some(report), None),
        Err(error) => (None, Some(error)),
    };
    ScrubView { id: member.id, name: member.name, report, error }
}

async fn report_of(context: &AgentContext, agent: AgentId, ask: ScrubAsk) -> Result<ScrubReport, String> {
    let request = wire::request(Method::Scrub, &ask).map_err(|error| error.to_string())?;
    let response = context.network.call(agent, Lane::Foreground, request, ANSWER_TIMEOUT).await;
    let response = response.map_err(|error| error.to_string())?;
    wire::check(&response).and_then(|()| wire::decode(&response.body)).map_err(|error| error.to_string())
}

/// Looks up the names that agents without a ledger, or in the midst of a scrub, do not know.
async fn name_all(context: &AgentContext, agents: &mut [ScrubView]) {
    let nameless = || agents.iter().filter_map(|agent| agent.report.as_ref()).flat_map(|report| &report.findings);
    let keys: Vec<_> = nameless().filter(|finding| finding.files.is_none()).map(|finding| finding.key).collect();
    if keys.is_empty() {
        return;
    }
    let ledger: Arc<_> = context.ledger.clone();
    let Ok(mut found) = names::of_shards(&ledger, keys).await else { return };
    for report in agents.iter_mut().filter_map(|agent| agent.report.as_mut()) {
        for finding in report.findings.iter_mut().filter(|finding| finding.files.is_none()) {
            finding.files = found.remove(&finding.key);
        }
    }
}
