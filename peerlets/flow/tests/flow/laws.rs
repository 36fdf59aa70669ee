//! Laws of the core, over random flows, agents and luck: every run is tried at most once and as often again as its step says,
//! needs come first, nobody is given more than agreed, all comes to an end, and the same luck gives the same story.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{Luck, Story, agents, flow_text, play};
use proptest::prelude::*;
use shoal_flow::{Flow, Outcome, StepPhase};

/// A step of a random flow: what it needs (counted back), its runs, retries, parallel, where.
type RandomStep = (BTreeSet<usize>, usize, u32, usize, u8);

fn random_flow() -> impl Strategy<Value = Vec<RandomStep>> {
    let step = (prop::collection::btree_set(1usize..4, 0..3), 1usize..6, 0u32..3, 1usize..4, 0u8..6);
    prop::collection::vec(step, 1..8)
}

fn random_luck() -> impl Strategy<Value = Luck> {
    let come = prop::collection::vec((0u64..20_000, 0u8..10), 1..40);
    (come, prop::option::weighted(0.2, 0u64..60_000), prop::collection::vec(0u64..100_000, 0..4))
        .prop_map(|(outcomes, stop_ms, leaves_ms)| Luck { outcomes, stop_ms, leaves_ms })
}

fn story(steps: &[RandomStep], count: usize, luck: &Luck) -> (Flow, Story) {
    let spec = shoal_flow::Spec::parse("random", &flow_text(steps)).expect("a flow");
    play(Flow::new(spec, agents(count)).expect("it begins"), luck)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_happens_the_flow_keeps_its_word(steps in random_flow(), count in 1usize..5, luck in random_luck()) {
        let (flow, story) = story(&steps, count, &luck);
        prop_assert!(flow.is_finished(), "it does not end");
        let spec = flow.spec();
        let by_name: BTreeMap<&str, usize> = spec.steps.iter().enumerate().map(|(index, step)| (step.name.as_str(), index)).collect();
        let mut tries: BTreeMap<u32, u32> = BTreeMap::new();
        for (start, done_before) in &story.starts {
            let step = &spec.steps[by_name[start.step.as_str()]];
            let tried = tries.entry(start.attempt.run).or_default();
            *tried += 1;
            prop_assert_eq!(start.attempt.number, *tried);
            prop_assert!(*tried <= 1 + step.retries, "{} was tried {} times", start.step, tried);
            let needs: BTreeSet<&str> = step.needs.iter().map(|need| spec.steps[*need].name.as_str()).collect();
            let done: BTreeSet<&str> = done_before.iter().map(String::as_str).collect();
            prop_assert!(needs.is_subset(&done), "{} began before {:?}", start.step, needs.difference(&done));
        }
        prop_assert!(story.most_running <= spec.parallel && story.most_on_an_agent <= spec.per_agent);
        for (name, most) in &story.most_of_step {
            prop_assert!(*most <= spec.steps[by_name[name.as_str()]].parallel);
        }
    }

    #[test]
    fn what_failed_fails_what_needs_it_and_nothing_else(steps in random_flow(), count in 1usize..5, luck in random_luck()) {
        let luck = Luck { stop_ms: None, ..luck };
        let (flow, _) = story(&steps, count, &luck);
        let view = flow.view(0);
        for (step, spec) in view.steps.iter().zip(&flow.spec().steps) {
            let needs_failed = spec.needs.iter().any(|need| view.steps[*need].phase != StepPhase::Done);
            prop_assert_eq!(step.phase == StepPhase::Skipped, needs_failed, "{}: {:?}", step.name, step.phase);
            prop_assert_eq!(step.phase == StepPhase::Failed, step.failed > 0);
            if step.phase == StepPhase::Done {
                prop_assert_eq!((step.done, step.running, step.queued), (step.runs, 0, 0));
            }
        }
        for result in flow.results() {
            prop_assert!(matches!(result.outcome, Outcome::Done | Outcome::Failed), "{:?}", result);
            prop_assert_eq!(result.outcome == Outcome::Failed, !result.why.is_empty());
        }
    }

    #[test]
    fn the_same_luck_gives_the_same_story(steps in random_flow(), count in 1usize..5, luck in random_luck()) {
        let (first, second) = (story(&steps, count, &luck), story(&steps, count, &luck));
        prop_assert_eq!(first.1.starts, second.1.starts);
        prop_assert_eq!(first.0.view(0), second.0.view(0));
    }
}
