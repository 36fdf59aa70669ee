//! Whom something is for: a part of forms, which `recipientsOf` of the shared script reads.

use maud::{Markup, html};

/// An agent one can choose.
pub(crate) struct Choice {
    /// Its name.
    pub(crate) name: String,
    /// What is to be known of it, such as that it is away; empty: nothing.
    pub(crate) note: &'static str,
}

/// Whom one can choose.
pub(crate) struct Recipients {
    /// Agents, in order.
    pub(crate) agents: Vec<Choice>,
    /// Groups by name, and how many agents are in each.
    pub(crate) groups: Vec<(String, usize)>,
}

/// All agents, a group, or some agents. `all`: all are chosen at first, else nobody is.
pub(super) fn choose(legend: &str, from: &Recipients, all: bool) -> Markup {
    html! {
        fieldset.recipients {
            legend { (legend) }
            label.choice { input type="radio" name="to" value="all" checked[all]; "all agents" }
            @if !from.groups.is_empty() {
                div {
                    label.choice { input type="radio" name="to" value="group"; "a group" }
                    select name="group" aria-label="Group" {
                        @for (name, count) in &from.groups {
                            option value=(name) { (name) " (" (count) " agent" @if *count != 1 { "s" } ")" }
                        }
                    }
                }
            }
            div {
                label.choice { input type="radio" name="to" value="agents"; "some agents" }
                span.choices {
                    @for agent in &from.agents {
                        label.choice {
                            input type="checkbox" name="agent" value=(agent.name);
                            (agent.name)
                            @if !agent.note.is_empty() { span.note { " (" (agent.note) ")" } }
                        }
                    }
                    @if from.agents.is_empty() { span.note { "There is no other agent yet." } }
                }
            }
        }
    }
}
