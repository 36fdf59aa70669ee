//! A world for flows to run in: agents that take a while, fail, stay silent or leave, as luck has it.

use std::collections::{BTreeMap, BTreeSet};

use shoal_flow::{Agent, Attempt, Directory, Effect, Event, Flow, Start, StepPhase};

/// What will happen.
#[derive(Debug, Clone)]
pub(crate) struct Luck {
    /// Of each attempt in turn, over and over: how long it takes, and how it ends.
    pub(crate) outcomes: Vec<(u64, u8)>,
    /// When a person stops it.
    pub(crate) stop_ms: Option<u64>,
    /// When the agents leave, one after the other.
    pub(crate) leaves_ms: Vec<u64>,
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// What was started, and which steps were done then.
    pub(crate) starts: Vec<(Start, Vec<String>)>,
    pub(crate) most_running: usize,
    pub(crate) most_on_an_agent: usize,
    pub(crate) most_of_step: BTreeMap<String, usize>,
}

/// Agents `a`, `b`, … that all offer `run`.
pub(crate) fn agents(count: usize) -> Directory {
    let names = ["a", "b", "c", "d", "e"];
    let agent = |name: &&str| Agent {
        id: format!("id-of-{name}"),
        name: (*name).to_owned(),
        online: true,
        offers: Some(BTreeSet::from(["run".to_owned()])),
        busy_permille: None,
    };
    let agents: Vec<Agent> = names.iter().take(count).map(agent).collect();
    let group = agents.iter().map(|agent| agent.id.clone()).take(2).collect();
    Directory { agents, groups: BTreeMap::from([("few".to_owned(), group)]) }
}

/// The file of a flow of steps that need those so many before them.
pub(crate) fn flow_text(steps: &[(BTreeSet<usize>, usize, u32, usize, u8)]) -> String {
    let mut text = "parallel = 5\nper_agent = 2\n".to_owned();
    for (index, (back, runs, retries, parallel, on)) in steps.iter().enumerate() {
        let needs: BTreeSet<usize> = back.iter().filter_map(|back| index.checked_sub(*back)).collect();
        let input: String = needs.iter().map(|need| format!("{{{{ s{need}.output }}}}")).collect();
        let each = match (runs, needs.first()) {
            (1, _) => String::new(),
            (2, Some(need)) => format!("for_each = \"{{{{ s{need}.lines }}}}\"\n"),
            _ => format!("for_each = {{ from = 1, to = {runs} }}\n"),
        };
        let on =
            ["\"idle\"", "\"all\"", "\"a\"", "{ group = \"few\" }", "{ any = [\"a\"] }", "\"idle\""][usize::from(*on)];
        text += &format!(
            "[[step]]\nname = \"s{index}\"\nrun = [\"work\"]\ninput = '''{input}'''\non = {on}\nretries = {retries}\n\
             parallel = {parallel}\ntimeout_s = 30\n{each}"
        );
    }
    text
}

/// Plays a flow to its end.
pub(crate) fn play(mut flow: Flow, luck: &Luck) -> (Flow, Story) {
    let mut coming: BTreeMap<(u64, usize), Event> = BTreeMap::new();
    // The last one said counts.
    let mut wake_ms = Some(0);
    let mut number = 0;
    let mut expect = |coming: &mut BTreeMap<_, _>, at_ms: u64, event: Event| {
        number += 1;
        coming.insert((at_ms, number), event);
    };
    if let Some(stop_ms) = luck.stop_ms {
        expect(&mut coming, stop_ms, Event::Stop);
    }
    let mut left = agents(5);
    for (agent, leaves_ms) in luck.leaves_ms.iter().enumerate() {
        if let Some(agent) = left.agents.get_mut(agent) {
            agent.online = false;
        }
        expect(&mut coming, *leaves_ms, Event::Agents(left.clone()));
    }
    let mut story = Story::default();
    let mut running: BTreeMap<Attempt, Start> = BTreeMap::new();
    let mut finished = 0;
    loop {
        let next_ms = coming.first_key_value().map(|((at_ms, _), _)| *at_ms);
        let (now_ms, event) = match wake_ms.take_if(|wake_ms| next_ms.is_none_or(|next_ms| *wake_ms < next_ms)) {
            Some(wake_ms) => (wake_ms, Event::Woken),
            None => match coming.pop_first() {
                Some(((at_ms, _), event)) => (at_ms, event),
                None => break,
            },
        };
        if let Event::Done { attempt, .. } | Event::Failed { attempt, .. } = &event {
            running.remove(attempt);
        }
        for effect in flow.handle(now_ms, event) {
            match effect {
                Effect::Start(start) => {
                    let (took_ms, how) = luck.outcomes[story.starts.len() % luck.outcomes.len()];
                    let attempt = start.attempt;
                    let output = format!("line one of {}\n\nline two\n", attempt.run);
                    let event = match how {
                        0..6 => Some(Event::Done { attempt, output, exit_status: Some(0) }),
                        6 => Some(Event::Done { attempt, output, exit_status: Some(3) }),
                        7 | 8 => Some(Event::Failed { attempt, why: "gone".into(), output: String::new() }),
                        // Never heard of again.
                        _ => None,
                    };
                    // Some tell twice, some after they were given up.
                    for again in event.iter().cycle().take(1 + usize::from(how == 7)) {
                        expect(&mut coming, now_ms + took_ms, again.clone());
                    }
                    let done = flow.view(now_ms).steps.into_iter().filter(|step| step.phase == StepPhase::Done);
                    story.starts.push((*start.clone(), done.map(|step| step.name).collect()));
                    running.insert(attempt, *start);
                    count(&mut story, &running);
                }
                Effect::Abandon(attempt) => {
                    assert!(running.remove(&attempt).is_some(), "abandoned what was not under way")
                }
                Effect::WakeAt(at_ms) => wake_ms = Some(at_ms.max(now_ms)),
                Effect::Finished => finished += 1,
            }
        }
    }
    assert!(finished <= 1, "it ends twice");
    (flow, story)
}

fn count(story: &mut Story, running: &BTreeMap<Attempt, Start>) {
    let (mut agents, mut steps) = (BTreeMap::new(), BTreeMap::new());
    for start in running.values() {
        *agents.entry(&start.agent).or_insert(0) += 1;
        *steps.entry(&start.step).or_insert(0) += 1;
    }
    story.most_running = story.most_running.max(running.len());
    story.most_on_an_agent = story.most_on_an_agent.max(agents.values().copied().max().unwrap_or(0));
    for (step, count) in steps {
        let most = story.most_of_step.entry(step.clone()).or_default();
        *most = (*most).max(count);
    }
}
