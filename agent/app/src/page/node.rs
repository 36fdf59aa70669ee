//! One agent on the status page: how it is, whether it can be switched off, and the buttons that act on it.

use maud::{Markup, html};

use crate::cli::print::{about, bytes};
use crate::outlook::MakeSafe;
use crate::status::{NodeState, NodeStatus};

/// A good standing needs no telling.
const STANDING_GOOD: u8 = 100;

/// The rows of an agent. `may_act`: whoever looks may press buttons.
pub(super) fn rows(node: &NodeStatus, may_act: bool) -> Markup {
    html! {
        tr {
            td {
                b { (node.name) }
                (standing(node))
            }
            td { span.state.(node.state.as_str()) { (node.state.as_str()) } }
            td.number {
                (bytes(node.used_bytes)) " of " (bytes(node.capacity_bytes)) br;
                meter min="0" max="1" value=(share(node.used_bytes, node.capacity_bytes)) {}
            }
            td.off { (switch_off(node)) }
            @if may_act { td.actions { (buttons(node)) } }
        }
        @if let Some(drain) = node.drain.as_ref().filter(|drain| !drain.emptied) {
            tr.drain {
                td colspan=(if may_act { "5" } else { "4" }) {
                    progress max="100" value=(drain.percent) {}
                    " " (drain.percent) " % moved off"
                    @if drain.shards_left > 0 { ", " (bytes(drain.bytes_left)) " left" }
                    @if let Some(seconds) = drain.eta_s.filter(|_| drain.shards_left > 0) { ", " (about(seconds)) }
                    @if let Some(waits_for) = &drain.waits_for { ". It waits for " (waits_for) }
                    "."
                }
            }
        }
    }
}

fn standing(node: &NodeStatus) -> Markup {
    html! {
        @if node.failing { br; span.state.absent { "likely to fail" } }
        @else if node.standing < STANDING_GOOD { br; span.note { "standing " (node.standing) " of 100" } }
        @for reason in &node.reasons { br; span.note { (reason) } }
    }
}

fn switch_off(node: &NodeStatus) -> Markup {
    let told = &node.switch_off;
    html! {
        @if !node.state.answers() { b { "–" } }
        @else if told.safe { b.state.up { "Yes" } }
        @else { b.state.absent { "No" } }
        br;
        span.note {
            (told.sentence)
            @if let Some(action) = told.action { " " (action.advice()) }
        }
    }
}

fn buttons(node: &NodeStatus) -> Markup {
    let act = |action: &str, label: &str, loud: bool| {
        html! {
            form method="post" action={ "/nodes/" (node.id) "/" (action) } {
                button.quiet[!loud] { (label) }
            }
        }
    };
    html! {
        @match node.state {
            NodeState::Paused => (act("resume", "Resume", false)),
            _ if node.drain.is_some() => (act("resume", "Cancel draining", false)),
            NodeState::Up => (act("pause", "Pause", false)),
            _ => {}
        }
        @if node.drain.is_none() {
            (act("drain", "Drain", node.switch_off.action == Some(MakeSafe::Drain)))
        }
    }
}

fn share(used: u64, capacity: u64) -> String {
    if capacity == 0 { "0".into() } else { format!("{:.3}", used as f64 / capacity as f64) }
}

#[cfg(test)]
mod tests {
    use dci_proto::AgentId;

    use super::*;
    use crate::outlook::{DrainStatus, SwitchOff};

    fn node(drain: Option<DrainStatus>) -> NodeStatus {
        NodeStatus {
            id: AgentId([7; 32]),
            name: "<pc>".into(),
            state: if drain.is_some() { NodeState::Draining } else { NodeState::Up },
            capacity_bytes: 100,
            used_bytes: 50,
            standing: 60,
            failing: false,
            reasons: vec!["its disk reads <slowly>".into()],
            drain,
            switch_off: SwitchOff { safe: false, action: Some(MakeSafe::Drain), ..SwitchOff::default() },
        }
    }

    #[test]
    fn only_who_may_act_sees_buttons_and_each_agent_has_those_that_apply() {
        let drawn = |drain: Option<DrainStatus>, may_act| rows(&node(drain), may_act).into_string();
        let path = format!("/nodes/{}", AgentId([7; 32]));
        assert!(!drawn(None, false).contains("<form"));
        let idle = drawn(None, true);
        assert!(idle.contains(&format!("{path}/drain")) && idle.contains(&format!("{path}/pause")));
        assert!(!idle.contains("<progress"));
        let moving = drawn(Some(DrainStatus { percent: 40, ..DrainStatus::default() }), true);
        assert!(moving.contains(&format!("{path}/resume")) && !moving.contains(&format!("{path}/drain\"")));
        assert!(moving.contains("<progress max=\"100\" value=\"40\">"));
    }

    #[test]
    fn names_and_reasons_are_text_and_never_markup() {
        let drawn = rows(&node(None), true).into_string();
        assert!(!drawn.contains("<pc>") && !drawn.contains("<slowly>") && drawn.contains("&lt;slowly&gt;"));
    }
}
