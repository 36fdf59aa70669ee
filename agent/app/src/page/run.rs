//! The page that runs a command on many agents and shows what each prints as it comes.

use maud::{Markup, html};

use super::recipients::{self, Recipients};
use super::{frame, navigation, scripts};

/// The script, served beside the page.
pub(crate) const SCRIPT: &str = include_str!("run.js");

/// The page.
pub(crate) fn run(pool: &str, user: &str, from: &Recipients) -> Markup {
    let body = html! {
        (navigation("/run", pool, user))
        main {
            form #run {
                label { "Command" input name="command" placeholder="uptime" autocomplete="off" autofocus required; }
                p.note { "A program and its arguments, no shell: quotes keep words together." }
                (recipients::choose("Where", from, true))
                label { "Seconds until it is ended" input name="timeout" type="number" value="60" min="1" max="86400"; }
                button { "Run" }
            }
            p #fault.alert role="alert" hidden {}
            section #answers aria-live="polite" {}
            noscript { p.alert { "This page needs JavaScript; `shoal run --all -- uptime` does the same in a terminal." } }
        }
        (scripts("/assets/run.js"))
    };
    frame(&format!("Shoal – run – {pool}"), &body)
}
