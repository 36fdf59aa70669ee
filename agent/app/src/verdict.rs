//! The sentence that tells how the pool stands. It never promises more than the numbers beside it.

use shoal_care::{Progress, Reason, Tally};

use crate::cli::print::{about, bytes};
use crate::status::{Findings, NodeState, NodeStatus};
use crate::words;

/// How a pool is called that is as it should be.
const HEALTHY: &str = "Healthy.";
/// Names of agents told in one sentence, at most; the others are counted.
const NAMES_TOLD: usize = 3;
/// What is not as safe as it should be.
const PRESSING: [Reason; 4] = [Reason::Endangered, Reason::Degraded, Reason::LessThanAsked, Reason::Failing];
/// What can wait, and how it is called.
const CALM: [(Reason, &str); 3] =
    [(Reason::Owed, "Giving back to owners"), (Reason::Balance, "Evening out"), (Reason::Recut, "Cutting anew")];

/// The sentence.
pub(crate) fn sentence(findings: &Findings<'_>) -> String {
    let mut sentences = vec![lead(findings)];
    sentences.extend(found_bad(findings));
    if !findings.quorum {
        sentences.push(no_quorum(findings));
    }
    sentences.extend(doing(findings));
    // One who only tells what is done about a pool that is well need not say so first.
    if sentences.len() > 1 && sentences.first().is_some_and(|lead| lead == HEALTHY) && drains(findings) {
        sentences.remove(0);
    }
    if findings.stripes.lost == 0 {
        sentences.push(survival(findings));
    }
    sentences.extend(policy_unmet(findings));
    sentences.join(" ")
}

/// Whether an agent is being emptied and is not yet.
fn drains(findings: &Findings<'_>) -> bool {
    findings.nodes.iter().any(|node| node.drain.as_ref().is_some_and(|drain| !drain.emptied))
}

/// What is done to make the pool as safe as it should be, and when it will be over.
fn doing(findings: &Findings<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(work) = findings.work {
        sentences.extend(rebuilding(findings, work));
    }
    sentences.extend(findings.nodes.iter().filter_map(draining));
    if let (Some(work), true) = (findings.work, sentences.is_empty()) {
        sentences.extend(CALM.iter().find_map(|(reason, called)| {
            let tally = work.waiting.get(reason).filter(|tally| tally.bytes > 0)?;
            if *reason == Reason::Recut && work.settled_in_s > 0 {
                let (bytes, time) = (bytes(tally.bytes), duration(work.settled_in_s));
                return Some(format!("If agents stay as they are for {time}, {bytes} are cut anew for them."));
            }
            Some(format!("{called} {}{}.", bytes(tally.bytes), left(tally.bytes, work)))
        }));
    }
    sentences
}

fn rebuilding(findings: &Findings<'_>, work: &Progress) -> Vec<String> {
    let mut sentences = Vec::new();
    let pressing: u64 = PRESSING.iter().filter_map(|reason| work.waiting.get(reason)).map(|tally| tally.bytes).sum();
    let at_risk = findings.stripes.degraded + findings.stripes.endangered > 0;
    if pressing > 0 {
        sentences.push(format!("Rebuilding {}{}.", bytes(pressing), left(pressing, work)));
    }
    let Tally { stripes: stuck, .. } = work.stuck;
    // What only a drain cannot place is told with the drain.
    let given_up = findings.nodes.iter().any(|node| node.state == NodeState::Absent);
    let waits = |node: &&NodeStatus| matches!(node.state, NodeState::Suspect | NodeState::Unplugged);
    let suspects: Vec<&str> = findings.nodes.iter().filter(waits).map(|node| node.name.as_str()).collect();
    let silent = !suspects.is_empty();
    if stuck > 0 && silent && !given_up {
        let (patience, who) = (duration(findings.absent_after_s), told(&suspects));
        let wait = if stuck == 1 { "waits" } else { "wait" };
        let stripes = words::stripes(stuck);
        sentences.push(format!("{stripes} {wait} for {who} to answer, or to have been away for {patience}."));
    } else if stuck > 0 && (given_up || !drains(findings)) {
        let done = if at_risk { "rebuilt" } else { "moved" };
        sentences.push(format!("{} cannot be {done}: too few agents with room for them.", words::stripes(stuck)));
    }
    if sentences.is_empty() && at_risk && silent && findings.quorum {
        let patience = duration(findings.absent_after_s);
        sentences.push(format!("What is missing is made anew once an agent has been silent for {patience}."));
    }
    sentences
}

/// How long that many bytes take, where it is known.
fn left(bytes: u64, work: &Progress) -> String {
    work.eta_of(bytes).map(|seconds| format!(", {} left", about(seconds))).unwrap_or_default()
}

/// So many seconds as people say it.
pub(crate) fn duration(seconds: u64) -> String {
    about(seconds).replace("about ", "")
}

fn draining(node: &NodeStatus) -> Option<String> {
    let (drain, name) = (node.drain.as_ref()?, &node.name);
    if drain.emptied {
        return Some(format!("{name} is emptied and can be removed."));
    }
    let done = format!("Draining {name}: {} % done", drain.percent);
    Some(match (&drain.waits_for, drain.eta_s) {
        (Some(waits_for), _) => format!("{done}; it waits for {waits_for}."),
        (None, Some(seconds)) if drain.shards_left > 0 || drain.percent < 100 => {
            format!("{done}, {} left.", about(seconds))
        }
        _ => format!("{done}."),
    })
}

fn lead(findings: &Findings<'_>) -> String {
    let silent = silent(findings.nodes);
    let stripes = &findings.stripes;
    let who = if silent.is_empty() { String::new() } else { format!(" {}.", does_not_answer(&silent)) };
    if stripes.damaged > 0 {
        let damaged = if stripes.damaged == 1 { "1 stripe has" } else { &format!("{} stripes have", stripes.damaged) };
        let told = "`shoal pool check` names the files: put them back from elsewhere";
        let others = match stripes.lost - stripes.damaged {
            0 => String::new(),
            1 => " Another needs agents that do not answer.".to_owned(),
            more => format!(" {more} others need agents that do not answer."),
        };
        return format!("Some data is lost: {damaged} too few sound shards left; {told}.{others}{who}");
    }
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
    let all_given_up = !findings.nodes.iter().any(|node| node.state == NodeState::Suspect);
    if !silent.is_empty() && all_given_up && findings.quorum && stripes.total > 0 {
        return format!("Healthy without {}.", who_do_not_answer(&silent));
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
    HEALTHY.to_owned()
}

/// Shards that are missing though their agents answer.
fn found_bad(findings: &Findings<'_>) -> Option<String> {
    match findings.bad_shards {
        0 => None,
        1 => Some("1 shard was found missing or damaged on a disk that answers.".to_owned()),
        more => Some(format!("{more} shards were found missing or damaged on disks that answer.")),
    }
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

/// Agents that do not answer, or whose store is not there.
fn silent(nodes: &[NodeStatus]) -> Vec<&NodeStatus> {
    let is_silent =
        |node: &&NodeStatus| matches!(node.state, NodeState::Suspect | NodeState::Absent | NodeState::Unplugged);
    nodes.iter().filter(is_silent).collect()
}

/// Those that do not answer, and those whose store is not there.
fn parted<'a>(nodes: &[&'a NodeStatus]) -> (Vec<&'a str>, Vec<&'a str>) {
    let (unplugged, silent): (Vec<&NodeStatus>, Vec<&NodeStatus>) =
        nodes.iter().partition(|node| node.state == NodeState::Unplugged);
    let names = |nodes: Vec<&'a NodeStatus>| nodes.into_iter().map(|node| node.name.as_str()).collect();
    (names(silent), names(unplugged))
}

fn does_not_answer(nodes: &[&NodeStatus]) -> String {
    let (silent, unplugged) = parted(nodes);
    let silent = match silent.len() {
        0 => None,
        1 => Some(format!("1 agent does not answer ({})", told(&silent))),
        several => Some(format!("{several} agents do not answer ({})", told(&silent))),
    };
    let unplugged = match unplugged.len() {
        0 => None,
        1 => Some(format!("{} answers without its store: plug its disk in or mount it again", told(&unplugged))),
        _ => Some(format!("{} answer without their stores: plug their disks in or mount them again", told(&unplugged))),
    };
    silent.into_iter().chain(unplugged).collect::<Vec<_>>().join("; ")
}

fn who_do_not_answer(nodes: &[&NodeStatus]) -> String {
    let (silent, unplugged) = parted(nodes);
    let silent = match silent.len() {
        0 => None,
        1 => Some(format!("1 agent that does not answer ({})", told(&silent))),
        several => Some(format!("{several} agents that do not answer ({})", told(&silent))),
    };
    let unplugged = (!unplugged.is_empty()).then(|| format!("a store that is not there (on {})", told(&unplugged)));
    silent.into_iter().chain(unplugged).collect::<Vec<_>>().join(" and ")
}

/// So many names, the first of them in full.
pub(crate) fn told(names: &[&str]) -> String {
    let told = names[..names.len().min(NAMES_TOLD)].join(", ");
    match names.len().saturating_sub(NAMES_TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

fn agents(number: u32) -> String {
    if number == 1 { "1 agent".to_owned() } else { format!("{number} agents") }
}
