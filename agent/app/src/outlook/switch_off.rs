//! "Safe to switch off?": what would become unreadable or endangered if one agent went away now, and what makes it safe.

use serde::{Deserialize, Serialize};
use shoal_care::{Progress, Reason};

use crate::census::Without;
use crate::words::stripes;

/// Whether an agent can be switched off now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SwitchOff {
    /// Nothing would become unreadable or endangered, and changes would go on.
    pub safe: bool,
    /// In one sentence.
    pub sentence: String,
    /// Stripes that could not be read without it.
    pub unreadable: u64,
    /// Stripes that could lose nothing more without it.
    pub endangered: u64,
    /// Stripes that would lack a shard and could spare more.
    pub degraded: u64,
    /// How many more agents could be lost then, any of them, without losing what can be read.
    pub survives: u32,
    /// Whether changes would go on.
    pub writing_goes_on: bool,
    /// What makes it safe; null when it is, or when nothing here does.
    pub action: Option<MakeSafe>,
}

/// What makes it safe to switch an agent off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MakeSafe {
    /// Waiting for what is being done.
    Wait,
    /// Draining it.
    Drain,
    /// More agents: those that are away, or new ones.
    MoreAgents,
}

impl MakeSafe {
    /// As advice.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Wait => "Wait until what is being done is over.",
            Self::Drain => "Drain it first: what it holds goes to the others.",
            Self::MoreAgents => "Start the agents that are away, or let more join.",
        }
    }
}

/// What the answer depends on.
pub(crate) struct SwitchOffInput<'a> {
    pub(crate) name: &'a str,
    /// It answers now, and its shards can be had.
    pub(crate) answers: bool,
    /// It answers, but its store is not there.
    pub(crate) unplugged: bool,
    /// It is being emptied.
    pub(crate) draining: bool,
    /// Nothing counts on what it holds, and that is certified.
    pub(crate) emptied: bool,
    pub(crate) without: Without,
    /// Stripes that cannot be read whoever answers: too many of their shards are bad.
    pub(crate) lost_already: u64,
    /// Copies of the ledger on others that answer.
    pub(crate) ledger_copies_left: usize,
    /// Others that hold shards and answer.
    pub(crate) stores_left: usize,
    /// Changes can be agreed on now.
    pub(crate) quorum: bool,
    /// Voting agents that would answer then.
    pub(crate) voters_left: usize,
    /// How many must.
    pub(crate) majority: usize,
    pub(crate) work: Option<&'a Progress>,
}

/// Whether an agent can be switched off now.
pub(crate) fn switch_off(input: &SwitchOffInput<'_>) -> SwitchOff {
    let Without { unreadable, endangered, degraded, least_margin, .. } = input.without;
    let writing_goes_on = input.quorum && input.voters_left >= input.majority && input.stores_left > 0;
    let by_ledger = input.ledger_copies_left.saturating_sub(1);
    let by_stripes = least_margin.map_or(input.stores_left.saturating_sub(1), usize::from);
    let survives = if unreadable > 0 { 0 } else { u32::try_from(by_stripes.min(by_ledger)).unwrap_or(u32::MAX) };
    let nothing_lost = unreadable + endangered == 0 && writing_goes_on && input.ledger_copies_left > 1;
    let safe = nothing_lost && (input.answers || degraded == 0);
    let mut sentence = sentence(input, safe, survives, writing_goes_on);
    if input.lost_already > 0 && input.ledger_copies_left > 0 {
        sentence = sentence.replace("everything stays readable", "everything else stays readable");
        let lost = stripes(input.lost_already);
        sentence += &format!(" With or without it {lost} cannot be read: too many of the shards are bad.");
    }
    SwitchOff {
        safe,
        sentence,
        unreadable,
        endangered,
        degraded,
        survives,
        writing_goes_on,
        action: if safe { None } else { Some(action(input)) },
    }
}

fn sentence(input: &SwitchOffInput<'_>, safe: bool, survives: u32, writing_goes_on: bool) -> String {
    let name = input.name;
    let Without { unreadable, endangered, .. } = input.without;
    if !input.answers {
        let degraded = input.without.degraded;
        let silent = if input.unplugged { "answers without its store" } else { "does not answer" };
        return match (unreadable, endangered, degraded) {
            (0, 0, 0) => format!("{name} {silent}, and nothing counts on it."),
            (0, 0, _) => format!("{name} {silent}: {} lack a shard without it.", stripes(degraded)),
            (0, _, _) => format!("{name} {silent}: without it {} could lose nothing more.", stripes(endangered)),
            _ => format!("{name} {silent}: without it {} cannot be read.", stripes(unreadable)),
        };
    }
    if safe {
        return match (input.emptied, survives) {
            (true, _) => format!("{name} can be switched off: it is emptied, nothing counts on it any more."),
            (_, 0) => format!("{name} can be switched off: nothing of what is at risk lies on it."),
            (_, 1) => format!("{name} can be switched off: everything stays readable and survives 1 more loss."),
            (_, more) => {
                format!("{name} can be switched off: everything stays readable and survives {more} more losses.")
            }
        };
    }
    if input.ledger_copies_left == 0 {
        return format!("{name} must stay on: nobody else who answers has the ledger, so nothing could be read.");
    }
    if unreadable > 0 {
        return format!("{name} must stay on: without it {} could not be read.", stripes(unreadable));
    }
    let mut but = Vec::new();
    if endangered > 0 {
        but.push(format!("{} could lose nothing more", stripes(endangered)));
    }
    if input.ledger_copies_left == 1 {
        but.push("names and the smallest files would be there only once".to_owned());
    }
    if !writing_goes_on {
        but.push("nothing could be changed".to_owned());
    }
    format!("{name} should stay on: without it everything stays readable, but {}.", but.join(" and "))
}

fn action(input: &SwitchOffInput<'_>) -> MakeSafe {
    let Without { unreadable, endangered, mending, .. } = input.without;
    if unreadable + endangered == 0 || !input.answers || input.stores_left == 0 {
        return MakeSafe::MoreAgents;
    }
    let mended = |work: &Progress| {
        let lacks = |reason: &Reason| work.waiting.contains_key(reason);
        (lacks(&Reason::Endangered) || lacks(&Reason::Degraded)) && work.stuck.stripes == 0
    };
    if input.draining || (mending == unreadable + endangered && input.work.is_some_and(mended)) {
        return MakeSafe::Wait;
    }
    // What lacks shards already is not helped by moving one more; its other holders are missed.
    if mending == unreadable + endangered {
        return MakeSafe::MoreAgents;
    }
    MakeSafe::Drain
}

#[cfg(test)]
mod tests {
    use shoal_care::Tally;

    use super::*;

    /// Agent pc-3 of six, whose going would leave stripes with a margin of one.
    fn six() -> SwitchOffInput<'static> {
        SwitchOffInput {
            name: "pc-3",
            answers: true,
            unplugged: false,
            draining: false,
            emptied: false,
            without: Without { degraded: 9, least_margin: Some(1), ..Without::default() },
            lost_already: 0,
            ledger_copies_left: 5,
            stores_left: 5,
            quorum: true,
            voters_left: 4,
            majority: 3,
            work: None,
        }
    }

    #[test]
    fn the_answer_says_what_would_be_and_what_makes_it_safe() {
        let check = |input: SwitchOffInput<'_>, sentence: &str, action: Option<MakeSafe>| {
            let told = switch_off(&input);
            assert_eq!((told.sentence.as_str(), told.action, told.safe), (sentence, action, action.is_none()));
        };
        let at_risk = Without { endangered: 4, mending: 4, least_margin: Some(0), ..Without::default() };
        let whole = Without { mending: 0, ..at_risk };
        let mut work = Progress::default();
        work.waiting.insert(Reason::Degraded, Tally { stripes: 4, bytes: 40 });
        let stuck = Progress { stuck: Tally { stripes: 1, bytes: 1 }, ..work.clone() };
        let stays = "pc-3 should stay on: without it everything stays readable, but 4 stripes could lose nothing more.";

        check(six(), "pc-3 can be switched off: everything stays readable and survives 1 more loss.", None);
        check(
            SwitchOffInput { without: Without { least_margin: Some(0), ..Without::default() }, ..six() },
            "pc-3 can be switched off: nothing of what is at risk lies on it.",
            None,
        );
        check(
            SwitchOffInput { emptied: true, draining: true, without: Without::default(), ..six() },
            "pc-3 can be switched off: it is emptied, nothing counts on it any more.",
            None,
        );
        check(
            SwitchOffInput { lost_already: 1, ..six() },
            "pc-3 can be switched off: everything else stays readable and survives 1 more loss. With or without it 1 stripe \
             cannot be read: too many of the shards are bad.",
            None,
        );
        check(SwitchOffInput { without: whole, ..six() }, stays, Some(MakeSafe::Drain));
        check(SwitchOffInput { without: whole, draining: true, ..six() }, stays, Some(MakeSafe::Wait));
        check(SwitchOffInput { without: at_risk, work: Some(&work), ..six() }, stays, Some(MakeSafe::Wait));
        check(SwitchOffInput { without: at_risk, work: Some(&stuck), ..six() }, stays, Some(MakeSafe::MoreAgents));
        check(SwitchOffInput { without: at_risk, ..six() }, stays, Some(MakeSafe::MoreAgents));
        check(
            SwitchOffInput { answers: false, unplugged: true, ..six() },
            "pc-3 answers without its store: 9 stripes lack a shard without it.",
            Some(MakeSafe::MoreAgents),
        );
        check(
            SwitchOffInput { answers: false, ..six() },
            "pc-3 does not answer: 9 stripes lack a shard without it.",
            Some(MakeSafe::MoreAgents),
        );
        check(
            SwitchOffInput { without: Without { unreadable: 1, ..at_risk }, ..six() },
            "pc-3 must stay on: without it 1 stripe could not be read.",
            Some(MakeSafe::Drain),
        );
        check(
            SwitchOffInput { voters_left: 2, ..six() },
            "pc-3 should stay on: without it everything stays readable, but nothing could be changed.",
            Some(MakeSafe::MoreAgents),
        );
        check(
            SwitchOffInput { ledger_copies_left: 0, stores_left: 0, ..six() },
            "pc-3 must stay on: nobody else who answers has the ledger, so nothing could be read.",
            Some(MakeSafe::MoreAgents),
        );
        check(
            SwitchOffInput { answers: false, without: at_risk, ..six() },
            "pc-3 does not answer: without it 4 stripes could lose nothing more.",
            Some(MakeSafe::MoreAgents),
        );
    }

    #[test]
    fn the_numbers_never_promise_more_than_the_least_safe_part() {
        assert_eq!(switch_off(&six()).survives, 1);
        assert_eq!(switch_off(&SwitchOffInput { ledger_copies_left: 1, ..six() }).survives, 0);
        assert!(!switch_off(&SwitchOffInput { ledger_copies_left: 1, ..six() }).safe);
        let lost = Without { unreadable: 2, least_margin: Some(3), ..Without::default() };
        assert_eq!(switch_off(&SwitchOffInput { without: lost, ..six() }).survives, 0);
        assert!(!switch_off(&SwitchOffInput { quorum: false, ..six() }).safe);
    }
}
