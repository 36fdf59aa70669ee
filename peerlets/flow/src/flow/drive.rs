//! Events in, effects out.

use super::{Attempt, Effect, Event, Flow, RunPhase, Start, Targets, expand};
use crate::agents::{Agent, idlest};
use crate::limits::{AGENT_PATIENCE_MS, OUTPUT_LIMIT_BYTES, OUTPUTS_LIMIT_BYTES, WORD_GRACE_MS};
use crate::view::StepPhase;

impl Flow {
    /// Takes what happened and says what is to be done. Time never goes back.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.is_finished() {
            return effects;
        }
        self.begun_ms.get_or_insert(now_ms);
        match event {
            Event::Woken => {}
            Event::Agents(directory) => self.directory = directory,
            Event::Done { attempt, output, exit_status } => self.ended(now_ms, attempt, output, exit_status),
            Event::Failed { attempt, why, output } => {
                if self.is_under_way(attempt) {
                    self.failed(now_ms, attempt.run, why, output);
                }
            }
            Event::Stop => self.stop(now_ms, &mut effects),
        }
        self.give_up_overdue(now_ms, &mut effects);
        // Each round ends at least one step or starts at least one run, so there are few.
        while self.settle_steps(now_ms) || self.start_runs(now_ms, &mut effects) || self.end_lonely(now_ms) {}
        if self.steps.iter().all(|step| step.phase.is_over()) {
            self.ended_ms = Some(now_ms);
            effects.push(Effect::Finished);
        } else if let Some(at_ms) = self.next_wake_ms() {
            effects.push(Effect::WakeAt(at_ms));
        }
        effects
    }

    fn is_under_way(&self, attempt: Attempt) -> bool {
        let run = self.runs.get(attempt.run as usize);
        run.is_some_and(|run| run.attempts == attempt.number && matches!(run.phase, RunPhase::Running { .. }))
    }

    fn next_wake_ms(&self) -> Option<u64> {
        let overdue = self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms);
        let lonely =
            self.steps.iter().filter_map(|step| step.lonely_since_ms).map(|since_ms| since_ms + AGENT_PATIENCE_MS);
        overdue.into_iter().chain(lonely).min()
    }

    /// Who was not heard of by its deadline will not be waited for.
    fn give_up_overdue(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        while let Some((_, run)) = self.deadlines.first().copied().filter(|(deadline_ms, _)| *deadline_ms <= now_ms) {
            let number = self.runs.get(run as usize).map_or(0, |run| run.attempts);
            effects.push(Effect::Abandon(Attempt { run, number }));
            self.failed(now_ms, run, "nothing was heard of it in time".to_owned(), String::new());
        }
    }

    /// Takes a run out of those under way; how long it has run.
    fn take(&mut self, now_ms: u64, run: u32) -> u64 {
        let Some(state) = self.runs.get_mut(run as usize) else { return 0 };
        let RunPhase::Running { since_ms, deadline_ms } = state.phase else { return 0 };
        state.phase = RunPhase::Queued;
        state.ended_ms = Some(now_ms);
        self.deadlines.remove(&(deadline_ms, run));
        if let Some(step) = self.steps.get_mut(state.step) {
            step.running = step.running.saturating_sub(1);
        }
        if let Some((agent, _)) = &state.agent
            && let Some(record) = self.records.get_mut(agent)
        {
            record.running = record.running.saturating_sub(1);
        }
        now_ms.saturating_sub(since_ms)
    }

    fn ended(&mut self, now_ms: u64, attempt: Attempt, output: String, exit_status: Option<i32>) {
        if !self.is_under_way(attempt) {
            return;
        }
        if let Some(run) = self.runs.get_mut(attempt.run as usize) {
            run.exit_status = exit_status;
        }
        let why = match exit_status {
            Some(status) if status != 0 => format!("exit status {status}"),
            _ if output.len() > OUTPUT_LIMIT_BYTES => {
                format!(
                    "it gave {} bytes, the limit is {OUTPUT_LIMIT_BYTES}; larger things travel as files",
                    output.len()
                )
            }
            _ if self.outputs_bytes + output.len() > OUTPUTS_LIMIT_BYTES => {
                format!("all outputs together have more than {OUTPUTS_LIMIT_BYTES} bytes")
            }
            _ => {
                self.done(now_ms, attempt.run, output);
                return;
            }
        };
        self.failed(now_ms, attempt.run, why, output);
    }

    fn done(&mut self, now_ms: u64, run: u32, output: String) {
        let took_ms = self.take(now_ms, run);
        self.outputs_bytes += output.len();
        let Some(state) = self.runs.get_mut(run as usize) else { return };
        (state.phase, state.output, state.why) = (RunPhase::Done, output, String::new());
        if let Some((agent, _)) = &state.agent {
            let record = self.records.entry(agent.clone()).or_default();
            (record.done, record.failures) = (record.done + 1, 0);
        }
        if let Some(step) = self.steps.get_mut(state.step) {
            step.done += 1;
            step.took_ms += took_ms;
        }
    }

    fn failed(&mut self, now_ms: u64, run: u32, why: String, output: String) {
        self.take(now_ms, run);
        let Some(state) = self.runs.get_mut(run as usize) else { return };
        if let Some((agent, _)) = &state.agent {
            let record = self.records.entry(agent.clone()).or_default();
            record.failures = record.failures.saturating_add(1);
            state.tried.push(agent.clone());
        }
        state.why = why;
        let Some(step) = self.steps.get_mut(state.step) else { return };
        let retries = self.spec.steps.get(state.step).map_or(0, |step| step.retries);
        if state.attempts <= retries {
            state.exit_status = None;
            step.retried += 1;
            step.queue.push_front(run as usize);
            return;
        }
        state.phase = RunPhase::Failed;
        step.failed += 1;
        let room = OUTPUT_LIMIT_BYTES.min(OUTPUTS_LIMIT_BYTES - self.outputs_bytes);
        state.output = cut(output, room);
        self.outputs_bytes += state.output.len();
    }

    fn stop(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.stopped = true;
        for run in 0..self.runs.len() {
            let number = match self.runs.get(run) {
                Some(state) if matches!(state.phase, RunPhase::Running { .. }) => Some(state.attempts),
                Some(state) if state.phase == RunPhase::Queued => None,
                _ => continue,
            };
            if let Some(number) = number {
                effects.push(Effect::Abandon(Attempt { run: run as u32, number }));
                self.take(now_ms, run as u32);
            }
            if let Some(state) = self.runs.get_mut(run) {
                (state.phase, state.why) = (RunPhase::Stopped, "stopped".to_owned());
            }
        }
        for step in self.steps.iter_mut().filter(|step| !step.phase.is_over()) {
            step.queue.clear();
            (step.phase, step.ended_ms, step.lonely_since_ms) = (StepPhase::Stopped, Some(now_ms), None);
        }
    }

    /// Ends steps that are through, begins those whose needs are done, skips those whose needs failed.
    fn settle_steps(&mut self, now_ms: u64) -> bool {
        let mut changed = false;
        for index in 0..self.steps.len() {
            let Some(step) = self.steps.get(index) else { continue };
            let through = step.queue.is_empty() && step.running == 0;
            match step.phase {
                StepPhase::Waiting => changed |= self.begin(now_ms, index),
                StepPhase::Running if through => {
                    let output = if step.is_used { expand::joined(step, &self.runs) } else { String::new() };
                    let why = self.first_reason(index);
                    if let Some(step) = self.steps.get_mut(index) {
                        step.phase = if step.failed > 0 { StepPhase::Failed } else { StepPhase::Done };
                        (step.output, step.why, step.ended_ms) = (output, why, Some(now_ms));
                    }
                    changed = true;
                }
                _ => {}
            }
        }
        changed
    }

    /// Why the first of a step's runs that failed did.
    fn first_reason(&self, index: usize) -> String {
        let Some(step) = self.steps.get(index) else { return String::new() };
        let mut runs = self.runs.iter().skip(step.first).take(step.count);
        let failed = runs.find(|run| run.phase == RunPhase::Failed);
        failed.map_or_else(String::new, |run| match (&run.agent, &run.item) {
            (Some((_, agent)), Some(item)) => format!("{} on {agent}, for {item}", run.why),
            (Some((_, agent)), None) => format!("{} on {agent}", run.why),
            (None, _) => run.why.clone(),
        })
    }

    fn begin(&mut self, now_ms: u64, index: usize) -> bool {
        let Some(spec) = self.spec.steps.get(index) else { return false };
        let phases = spec.needs.iter().filter_map(|needed| Some((*needed, self.steps.get(*needed)?.phase)));
        let failed = phases.clone().find(|(_, phase)| phase.is_over() && *phase != StepPhase::Done);
        let ready = phases.clone().all(|(_, phase)| phase == StepPhase::Done);
        let (phase, why) = match failed {
            Some((needed, _)) => {
                let name = self.spec.steps.get(needed).map_or("", |needed| needed.name.as_str());
                (StepPhase::Skipped, format!("{name} is not done"))
            }
            None if !ready => return false,
            None => match self.open(index) {
                Ok(()) => (StepPhase::Running, String::new()),
                Err(why) => (StepPhase::Failed, why),
            },
        };
        if let Some(step) = self.steps.get_mut(index) {
            (step.phase, step.why) = (phase, why);
            match phase {
                StepPhase::Running => step.begun_ms = Some(now_ms),
                _ => step.ended_ms = Some(now_ms),
            }
        }
        true
    }

    /// Starts what there is a place for.
    fn start_runs(&mut self, now_ms: u64, effects: &mut Vec<Effect>) -> bool {
        let mut changed = false;
        for index in 0..self.steps.len() {
            while let Some((place, id, name)) = self.next_of(index) {
                changed = true;
                let run = self.steps.get_mut(index).and_then(|step| step.queue.remove(place));
                let Some(run) = run else { break };
                self.start(now_ms, run as u32, (id, name), effects);
            }
        }
        changed
    }

    /// Whether one more run may be under way.
    fn has_room(&self, index: usize) -> bool {
        let (Some(spec), Some(step)) = (self.spec.steps.get(index), self.steps.get(index)) else { return false };
        step.phase == StepPhase::Running
            && !step.queue.is_empty()
            && step.running < spec.parallel
            && self.deadlines.len() < self.spec.parallel
    }

    fn is_free(&self, agent: &str) -> bool {
        self.records.get(agent).is_none_or(|record| record.running < self.spec.per_agent)
    }

    /// The next run of a step that may begin, by its place in the queue, and the agent it goes to.
    fn next_of(&self, index: usize) -> Option<(usize, String, String)> {
        let step = self.steps.get(index).filter(|_| self.has_room(index))?;
        match &step.targets {
            Targets::Any(_) => {
                let run = self.runs.get(*step.queue.front()?)?;
                let free = self.candidates(index).filter(|agent| self.is_free(&agent.id));
                idlest(free, &run.tried, &self.records).map(|agent| (0, agent.id.clone(), agent.name.clone()))
            }
            Targets::Each(_) => step.queue.iter().enumerate().find_map(|(place, run)| {
                let (id, name) = self.runs.get(*run)?.pinned.as_ref()?;
                self.is_free(id).then(|| (place, id.clone(), name.clone()))
            }),
        }
    }

    /// The agents that can take runs of a step that any may take.
    fn candidates(&self, index: usize) -> impl Iterator<Item = &Agent> {
        let wanted = self.spec.steps.get(index).map_or("", |step| step.action.type_name());
        let targets = self.steps.get(index).map(|step| &step.targets);
        self.directory.agents.iter().filter(move |agent| {
            let named = match targets {
                Some(Targets::Any(Some(ids))) => ids.contains(&agent.id),
                Some(Targets::Any(None)) => true,
                Some(Targets::Each(_)) | None => false,
            };
            named && agent.online && agent.offers.as_ref().is_none_or(|offers| offers.contains(wanted))
        })
    }

    fn start(&mut self, now_ms: u64, run: u32, (id, name): (String, String), effects: &mut Vec<Effect>) {
        let Some(state) = self.runs.get(run as usize) else { return };
        let Some(spec) = self.spec.steps.get(state.step) else { return };
        let index = state.step;
        match self.body(spec, state) {
            Ok(body) => {
                let attempt = Attempt { run, number: state.attempts + 1 };
                let deadline_ms = now_ms + spec.timeout_ms + WORD_GRACE_MS;
                effects.push(Effect::Start(Box::new(Start {
                    attempt,
                    step: spec.name.clone(),
                    item: state.item.clone(),
                    agent: id.clone(),
                    agent_name: name.clone(),
                    type_name: spec.action.type_name().to_owned(),
                    body,
                    timeout_ms: spec.timeout_ms,
                })));
                self.deadlines.insert((deadline_ms, run));
                self.records.entry(id.clone()).or_default().running += 1;
                if let Some(state) = self.runs.get_mut(run as usize) {
                    state.attempts = attempt.number;
                    state.agent = Some((id, name));
                    state.phase = RunPhase::Running { since_ms: now_ms, deadline_ms };
                    state.begun_ms.get_or_insert(now_ms);
                }
                if let Some(step) = self.steps.get_mut(index) {
                    step.running += 1;
                }
            }
            Err(why) => self.give_up(now_ms, index, run as usize, &why),
        }
    }

    /// A run that cannot be tried, however often.
    fn give_up(&mut self, now_ms: u64, index: usize, run: usize, why: &str) {
        if let Some(state) = self.runs.get_mut(run) {
            (state.phase, state.why, state.ended_ms) = (RunPhase::Failed, why.to_owned(), Some(now_ms));
        }
        if let Some(step) = self.steps.get_mut(index) {
            step.failed += 1;
        }
    }

    /// Gives up what no agent can take for too long.
    fn end_lonely(&mut self, now_ms: u64) -> bool {
        let mut changed = false;
        for index in 0..self.steps.len() {
            let Some(step) = self.steps.get(index) else { continue };
            let any = matches!(step.targets, Targets::Any(_));
            let waits = step.phase == StepPhase::Running && !step.queue.is_empty() && step.running == 0;
            let lonely = any && waits && self.candidates(index).next().is_none();
            let since_ms = lonely.then(|| step.lonely_since_ms.unwrap_or(now_ms));
            let queue = match since_ms {
                Some(since_ms) if now_ms >= since_ms + AGENT_PATIENCE_MS => step.queue.clone(),
                _ => Default::default(),
            };
            let wanted = self.spec.steps.get(index).map_or("", |step| step.action.type_name());
            let why = format!("no agent that is there offers {wanted}");
            changed |= !queue.is_empty();
            if let Some(step) = self.steps.get_mut(index) {
                step.lonely_since_ms = since_ms.filter(|_| queue.is_empty());
                if !queue.is_empty() {
                    step.queue.clear();
                }
            }
            for run in queue {
                self.give_up(now_ms, index, run, &why);
            }
        }
        changed
    }
}

fn cut(mut text: String, limit_bytes: usize) -> String {
    let mut end = limit_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
