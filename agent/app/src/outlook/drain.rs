//! How far the emptying of an agent is, when it will be over, and what it waits for.

use serde::{Deserialize, Serialize};
use shoal_care::Progress;
use shoal_ledger::DrainRecord;
use shoal_ledger::query::AgentUsage;

use crate::verdict;
use crate::words::stripes;

/// An estimate is believed after this much time, in ms.
const ESTIMATE_AFTER_MS: u64 = 2_000;

/// How far an agent's emptying is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Since when, in ms since 1970 UTC.
    pub since_ms: u64,
    /// Shards that were counted on there when it began.
    pub shards_at_start: u64,
    /// Their bytes.
    pub bytes_at_start: u64,
    /// Shards that still are.
    pub shards_left: u64,
    /// Their bytes.
    pub bytes_left: u64,
    /// Share that is done, in per cent; 100 only when nothing is left.
    pub percent: u8,
    /// Seconds until nothing is left; null while that cannot be told.
    pub eta_s: Option<u64>,
    /// What it waits for, if it does not go on.
    pub waits_for: Option<String>,
    /// Nothing is left, and the ledger has the certificate of it.
    pub emptied: bool,
}

/// What that is made of.
pub(crate) struct DrainInput<'a> {
    pub(crate) record: DrainRecord,
    pub(crate) usage: AgentUsage,
    pub(crate) certified: bool,
    pub(crate) answers: bool,
    pub(crate) quorum: bool,
    /// Shards of it whose stripes cannot be read, whoever answers: nothing can be moved of those.
    pub(crate) unreadable: u64,
    /// Other agents that have not answered for seconds, and how long they may be silent.
    pub(crate) suspects: Vec<String>,
    pub(crate) absent_after_s: u64,
    pub(crate) now_ms: u64,
    pub(crate) work: Option<&'a Progress>,
}

/// How far an agent's emptying is.
pub(crate) fn drain_status(input: &DrainInput<'_>) -> DrainStatus {
    let DrainRecord { since_ms, shards, bytes } = input.record;
    let left = input.usage;
    let waits_for = waits_for(input);
    let moved = bytes.saturating_sub(left.bytes);
    let percent = match (left.shards, bytes) {
        (0, _) => 100,
        (_, 0) => 0,
        _ => (u128::from(moved) * 100 / u128::from(bytes)).min(99) as u8,
    };
    let elapsed_ms = input.now_ms.saturating_sub(since_ms);
    let stuck = input.work.is_some_and(|work| work.stuck.stripes > 0);
    let known = waits_for.is_none() && !stuck && moved > 0 && elapsed_ms >= ESTIMATE_AFTER_MS;
    let estimate = || u128::from(left.bytes) * u128::from(elapsed_ms) / u128::from(moved) / 1_000 + 1;
    let eta_s = match left.shards {
        0 => Some(0),
        _ if known => u64::try_from(estimate()).ok(),
        _ => None,
    };
    DrainStatus {
        since_ms,
        shards_at_start: shards,
        bytes_at_start: bytes,
        shards_left: left.shards,
        bytes_left: left.bytes,
        percent,
        eta_s,
        waits_for,
        emptied: input.certified && left.shards == 0,
    }
}

fn waits_for(input: &DrainInput<'_>) -> Option<String> {
    if input.certified && input.usage.shards == 0 {
        return None;
    }
    if !input.quorum {
        return Some("the pool, which cannot agree on changes now".into());
    }
    if input.usage.shards == 0 {
        return None;
    }
    if input.usage.shards <= input.unreadable {
        let stripes = stripes(input.usage.shards);
        return Some(format!(
            "{stripes} that cannot be read (`shoal pool check` names the file): put it again, or end it with `node remove --force`"
        ));
    }
    let work = input.work?;
    // What is stuck may be another agent's; while something moves it is not what this one waits for.
    if work.stuck.stripes > 0 && work.waiting.is_empty() {
        if !input.suspects.is_empty() {
            let names: Vec<&str> = input.suspects.iter().map(String::as_str).collect();
            let (who, patience) = (verdict::told(&names), verdict::duration(input.absent_after_s));
            return Some(format!("{who} to answer, or to have been silent for {patience}"));
        }
        let stuck = stripes(work.stuck.stripes);
        return Some(format!("room: {stuck} cannot be moved, as too few other agents that answer have room for them"));
    }
    (!input.answers && work.waiting.is_empty())
        .then(|| "the agent: it does not answer, and what it holds counts as lost only after a while".into())
}

#[cfg(test)]
mod tests {
    use shoal_care::{Reason, Tally};

    use super::*;

    fn input(bytes_left: u64, after_ms: u64) -> DrainInput<'static> {
        DrainInput {
            record: DrainRecord { since_ms: 1_000, shards: 100, bytes: 1_000_000 },
            usage: AgentUsage { shards: bytes_left / 10_000, bytes: bytes_left },
            certified: false,
            answers: true,
            quorum: true,
            unreadable: 0,
            suspects: Vec::new(),
            absent_after_s: 1800,
            now_ms: 1_000 + after_ms,
            work: None,
        }
    }

    #[test]
    fn how_far_it_is_follows_from_what_was_there_and_what_is_left() {
        let told = |input: DrainInput<'_>| {
            let status = drain_status(&input);
            (status.percent, status.eta_s, status.emptied)
        };
        assert_eq!(told(input(1_000_000, 10_000)), (0, None, false), "nothing has moved yet");
        assert_eq!(told(input(600_000, 10_000)), (40, Some(16), false));
        assert_eq!(told(input(600_000, 1_000)), (40, None, false), "too early to tell");
        assert_eq!(told(input(10_000, 10_000)), (99, Some(1), false));
        assert_eq!(told(input(0, 10_000)), (100, Some(0), false), "not certified yet");
        assert_eq!(told(DrainInput { certified: true, ..input(0, 10_000) }), (100, Some(0), true));
        let refilled = DrainInput { certified: true, ..input(10_000, 10_000) };
        assert!(!drain_status(&refilled).emptied, "a certificate says nothing about what came later");
    }

    #[test]
    fn what_it_waits_for_is_said_and_nothing_is_promised_meanwhile() {
        let stuck = Progress { stuck: Tally { stripes: 3, bytes: 30 }, ..Progress::default() };
        let mut moving = stuck.clone();
        moving.waiting.insert(Reason::Drain, Tally { stripes: 1, bytes: 1 });
        let told = |input: DrainInput<'_>| drain_status(&input);
        let waits = told(DrainInput { work: Some(&stuck), ..input(600_000, 10_000) });
        let sentence = "room: 3 stripes cannot be moved, as too few other agents that answer have room for them";
        assert_eq!((waits.waits_for.as_deref(), waits.eta_s), (Some(sentence), None));
        let goes_on = told(DrainInput { work: Some(&moving), ..input(600_000, 10_000) });
        assert_eq!(
            (goes_on.waits_for, goes_on.eta_s),
            (None, None),
            "no time is promised while something has no place"
        );
        let silent = DrainInput { work: Some(&stuck), suspects: vec!["pc-5".into()], ..input(600_000, 10_000) };
        let sentence = "pc-5 to answer, or to have been silent for 30 minutes";
        assert_eq!(told(silent).waits_for.as_deref(), Some(sentence));
        let lost = told(DrainInput { unreadable: 1, ..input(10_000, 10_000) });
        assert!(lost.waits_for.is_some_and(|told| told.starts_with("1 stripe that cannot be read")));
        assert_eq!(lost.eta_s, None);
        assert_eq!(told(DrainInput { unreadable: 1, ..input(20_000, 10_000) }).waits_for, None, "another can be moved");
        let idle = Progress::default();
        let silent = told(DrainInput { work: Some(&idle), answers: false, ..input(600_000, 10_000) });
        assert!(silent.waits_for.is_some_and(|told| told.contains("does not answer")));
        let alone = told(DrainInput { quorum: false, ..input(600_000, 10_000) });
        assert!(alone.waits_for.is_some_and(|told| told.contains("cannot agree")));
    }
}
