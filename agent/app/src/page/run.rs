//! The page that runs a command on many agents and shows what each prints as it comes.

use maud::{Markup, html};

use super::{frame, navigation};

/// The script, served beside the page.
pub(crate) const SCRIPT: &str = include_str!("run.js");

/// The page; the agents to choose from are filled in by its script.
pub(crate) fn run(pool: &str, user: &str) -> Markup {
    let body = html! {
        (navigation("/run", Some(pool), user))
        main {
            form #run {
                label { "Command" input name="command" placeholder="uptime" autocomplete="off" autofocus required; }
                p.stripes { "A program and its arguments, no shell: quotes keep words together." }
                fieldset {
                    legend { "Where" }
                    div #agents.choices {}
                    label.choice { input type="checkbox" name="all" checked; " on every agent" }
                }
                label { "Seconds until it is ended" input name="timeout" type="number" value="60" min="1" max="86400"; }
                button { "Run" }
            }
            p #problem.alert role="alert" hidden {}
            section #answers aria-live="polite" {}
            noscript { p.alert { "This page needs JavaScript; `shoal run --all -- uptime` does the same in a terminal." } }
        }
        script src="/assets/run.js" {}
    };
    frame(&format!("Shoal – run – {pool}"), &body)
}
