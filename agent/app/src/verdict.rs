//! The sentence that tells how the pool stands. It never promises more than the numbers beside it.

use crate::status::{Findings, NodeState, NodeStatus};

/// Names of agents told in one sentence, at most; the others are counted.
const NAMES_TOLD: usize = 3;

/// The sentence.
pub(crate) fn sentence(findings: &Findings<'_>) -> String {
    let mut sentences = vec![lead(findings)];
    if !findings.quorum {
        sentences.push(no_quorum(findings));
    }
    if findings.stripes.lost == 0 {
        sentences.push(survival(findings));
    }
    sentences.extend(policy_unmet(findings));
    sentences.join(" ")
}

fn lead(findings: &Findings<'_>) -> String {
    let silent = silent(findings.nodes);
    let stripes = &findings.stripes;
    let who = if silent.is_empty() { String::new() } else { format!(" {}.", does_not_answer(&silent)) };
    if stripes.lost > 0 {
        let stripes =
            if stripes.lost == 1 { "1 stripe needs".to_owned() } else { format!("{} stripes need", stripes.lost) };
        return format!("Some data cannot be read now: {stripes} agents that do not answer.{who}");
    }
    if stripes.endangered > 0 {
        return format!("Endangered: one more loss would lose data.{who}");
    }
    if stripes.degraded > 0 {
        let share = format!("{} of {} stripes lack shards", stripes.degraded, stripes.total);
        return format!("Degraded: {share}.{who}");
    }
    if !silent.is_empty() {
        return format!("Degraded: {}.", does_not_answer(&silent));
    }
    if !findings.quorum {
        return "Read-only.".to_owned();
    }
    if let Some(failing) = findings.nodes.iter().find(|node| node.failing) {
        return format!("Warning: {} is likely to fail{}.", failing.name, reason(failing));
    }
    if findings.nodes.iter().any(|node| node.state == NodeState::Joining) {
        return "An agent is joining.".to_owned();
    }
    if findings.nodes.len() == 1 {
        return "Working, on one agent only.".to_owned();
    }
    "Healthy.".to_owned()
}

fn reason(node: &NodeStatus) -> String {
    node.reasons.first().map(|reason| format!(" ({reason})")).unwrap_or_default()
}

fn no_quorum(findings: &Findings<'_>) -> String {
    if findings.voters_up * 2 > findings.voters {
        return "Changes wait: the agents are choosing who leads.".to_owned();
    }
    format!(
        "No changes are possible: of {} voting agents {} {}, {} are needed. Reading goes on and may be stale.",
        findings.voters,
        findings.voters_up,
        if findings.voters_up == 1 { "answers" } else { "answer" },
        findings.voters / 2 + 1
    )
}

fn survival(findings: &Findings<'_>) -> String {
    let (data, writing) = (findings.survives, findings.survives_writing);
    if data == 0 {
        return match findings.nodes.len() {
            1 => "If it is lost, everything is lost; invite another with `shoal invite`.".to_owned(),
            _ => "Survives the loss of no agent.".to_owned(),
        };
    }
    if !findings.quorum || data == writing {
        return format!("Survives the loss of any {}.", agents(data));
    }
    let writing_goes_on = match writing {
        0 => "writing stops with the first loss of a voting agent".to_owned(),
        more => format!("writing goes on after the loss of any {more}"),
    };
    format!("Files survive the loss of any {}; {writing_goes_on}.", agents(data))
}

/// A policy that the agents there are cannot fulfil, though all are well.
fn policy_unmet(findings: &Findings<'_>) -> Option<String> {
    let wanted = findings.survive_wanted;
    let all_well = findings.nodes.iter().all(|node| node.state.answers());
    let stores_needed = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_add(1);
    (all_well && findings.nodes.len() > 1 && findings.nodes.len() < stores_needed)
        .then(|| format!("The policy asks for {wanted}, which takes {stores_needed} agents."))
}

fn silent(nodes: &[NodeStatus]) -> Vec<&str> {
    let is_silent = |node: &&NodeStatus| matches!(node.state, NodeState::Suspect | NodeState::Absent);
    nodes.iter().filter(is_silent).map(|node| node.name.as_str()).collect()
}

fn does_not_answer(names: &[&str]) -> String {
    let told = names[..names.len().min(NAMES_TOLD)].join(", ");
    let others = match names.len().saturating_sub(NAMES_TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match names.len() {
        1 => format!("1 agent does not answer ({told})"),
        several => format!("{several} agents do not answer ({told}{others})"),
    }
}

fn agents(number: u32) -> String {
    if number == 1 { "1 agent".to_owned() } else { format!("{number} agents") }
}
