//! From steps to runs: which agents, which items, and what each run is given.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use super::{Body, Flow, Run, RunPhase, StartError, StepState, Targets};
use crate::agents::Directory;
use crate::limits::{BODY_LIMIT_BYTES, ITEM_LIMIT_BYTES, RUNS_LIMIT};
use crate::spec::{Action, Each, On, Spec, Step};
use crate::template::{Template, Values};

/// The steps of a flow before anything has happened.
pub(super) fn steps(spec: &Spec, directory: &Directory) -> Result<Vec<StepState>, StartError> {
    let used: BTreeSet<&str> =
        spec.steps.iter().flat_map(|step| step.action.templates()).flat_map(Template::steps).collect();
    let mut total = 0usize;
    let mut states = Vec::new();
    for step in &spec.steps {
        let wrong = |what: String| StartError::Step { step: step.name.clone(), what };
        let targets = targets(&step.on, directory).map_err(wrong)?;
        let agents = match &targets {
            Targets::Any(_) => 1,
            Targets::Each(agents) => agents.len(),
        };
        let items = match &step.each {
            Some(Each::Items(items)) => items.len(),
            Some(Each::LinesOf(_)) | None => 1,
        };
        total = total.saturating_add(agents.saturating_mul(items));
        states.push(StepState::new(targets, used.contains(step.name.as_str())));
    }
    if total > RUNS_LIMIT { Err(StartError::TooMany(total)) } else { Ok(states) }
}

fn targets(on: &On, directory: &Directory) -> Result<Targets, String> {
    let found = |names: &[String]| names.iter().map(|name| directory.find(name)).collect::<Result<Vec<_>, String>>();
    let mut each: Vec<(String, String)> = match on {
        On::Idle => return Ok(Targets::Any(None)),
        On::AnyOf(names) => {
            let ids = found(names)?.into_iter().map(|agent| agent.id.clone());
            return Ok(Targets::Any(Some(ids.collect())));
        }
        On::Each(names) => found(names)?.into_iter().map(|agent| (agent.id.clone(), agent.name.clone())).collect(),
        On::All => directory.agents.iter().map(|agent| (agent.id.clone(), agent.name.clone())).collect(),
        On::Group(group) => {
            let Some(ids) = directory.groups.get(group) else {
                let groups: Vec<&str> = directory.groups.keys().map(String::as_str).take(20).collect();
                let known = if groups.is_empty() {
                    "there are none".into()
                } else {
                    format!("there are {}", groups.join(", "))
                };
                return Err(format!("there is no group {group:?}; {known}"));
            };
            let members = directory.agents.iter().filter(|agent| ids.contains(&agent.id));
            members.map(|agent| (agent.id.clone(), agent.name.clone())).collect()
        }
    };
    let mut known = BTreeSet::new();
    each.retain(|(id, _)| known.insert(id.clone()));
    if each.is_empty() { Err("there is no agent in it".to_owned()) } else { Ok(Targets::Each(each)) }
}

/// Text as a shell's `$(…)` gives it: without the ends of its last lines.
fn trimmed(output: &str) -> &str {
    output.trim_end_matches(['\r', '\n'])
}

/// What a step gave: what its runs gave, in their order, each on lines of its own.
pub(super) fn joined(state: &StepState, runs: &[Run]) -> String {
    let runs = runs.iter().skip(state.first).take(state.count).filter(|run| run.phase == RunPhase::Done);
    runs.map(|run| trimmed(&run.output)).collect::<Vec<_>>().join("\n")
}

impl Flow {
    /// Makes the runs of a step whose needs are done; the reason when that cannot be.
    pub(super) fn open(&mut self, index: usize) -> Result<(), String> {
        let (Some(step), Some(state)) = (self.spec.steps.get(index), self.steps.get(index)) else { return Ok(()) };
        let items: Vec<Option<String>> = match &step.each {
            None => vec![None],
            Some(Each::Items(items)) => items.iter().cloned().map(Some).collect(),
            Some(Each::LinesOf(of)) => self.lines(*of)?.into_iter().map(Some).collect(),
        };
        let pins: Vec<Option<(String, String)>> = match &state.targets {
            Targets::Any(_) => vec![None],
            Targets::Each(agents) => agents.iter().cloned().map(Some).collect(),
        };
        let (first, count) = (self.runs.len(), items.len().saturating_mul(pins.len()));
        if first + count > RUNS_LIMIT {
            return Err(format!("it comes to {count} runs, which makes more than {RUNS_LIMIT} in all"));
        }
        for item in &items {
            self.runs.extend(pins.iter().map(|pinned| Run {
                step: index,
                item: item.clone(),
                pinned: pinned.clone(),
                phase: RunPhase::Queued,
                attempts: 0,
                tried: Vec::new(),
                agent: None,
                begun_ms: None,
                ended_ms: None,
                exit_status: None,
                output: String::new(),
                why: String::new(),
            }));
        }
        if let Some(state) = self.steps.get_mut(index) {
            (state.first, state.count, state.queue) = (first, count, VecDeque::from_iter(first..first + count));
        }
        Ok(())
    }

    fn lines(&self, of: usize) -> Result<Vec<String>, String> {
        let Some(state) = self.steps.get(of) else { return Ok(Vec::new()) };
        let output = joined(state, &self.runs);
        let lines: Vec<String> =
            output.lines().filter(|line| !line.trim().is_empty()).take(RUNS_LIMIT + 1).map(str::to_owned).collect();
        match lines.iter().map(String::len).max() {
            Some(longest) if longest > ITEM_LIMIT_BYTES => {
                Err(format!("for_each got a line of {longest} bytes, the limit is {ITEM_LIMIT_BYTES}"))
            }
            _ => Ok(lines),
        }
    }

    /// What a run is given; the reason when that is too much.
    pub(super) fn body(&self, step: &Step, run: &Run) -> Result<Body, String> {
        let xml = matches!(&step.action, Action::Peerlet { xml: true, .. });
        let filling = Filling { flow: self, item: run.item.as_deref().unwrap_or_default(), xml };
        let mut room = BODY_LIMIT_BYTES;
        let mut filled = |template: &Template| {
            let text = template.filled(&filling, room);
            let text =
                text.ok_or_else(|| format!("it is given more than {BODY_LIMIT_BYTES} bytes; send a file instead"))?;
            room -= text.len();
            Ok::<String, String>(text)
        };
        Ok(match &step.action {
            Action::Run { command, input } => {
                let command = command.iter().map(&mut filled).collect::<Result<Vec<_>, _>>()?;
                Body::Command { command, input: filled(input)? }
            }
            Action::Peerlet { input, xml: true, .. } => Body::Xml(filled(input)?),
            Action::Peerlet { input, .. } => Body::Text(filled(input)?),
        })
    }
}

struct Filling<'a> {
    flow: &'a Flow,
    item: &'a str,
    xml: bool,
}

impl Filling<'_> {
    fn written<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.xml || !text.contains(['<', '>', '&', '"', '\'', '\r']) {
            return Cow::Borrowed(text);
        }
        let mut written = String::with_capacity(text.len() + 16);
        for char in text.chars() {
            match char {
                '<' => written.push_str("&lt;"),
                '>' => written.push_str("&gt;"),
                '&' => written.push_str("&amp;"),
                '"' => written.push_str("&quot;"),
                '\'' => written.push_str("&apos;"),
                '\r' => written.push_str("&#13;"),
                other => written.push(other),
            }
        }
        Cow::Owned(written)
    }
}

impl Values for Filling<'_> {
    fn output(&self, step: &str) -> Cow<'_, str> {
        let index = self.flow.spec.steps.iter().position(|known| known.name == step);
        let state = index.and_then(|index| self.flow.steps.get(index));
        self.written(state.map_or("", |state| &state.output))
    }

    fn item(&self) -> Cow<'_, str> {
        self.written(self.item)
    }
}
