//! The status page: sign in, agents, capacity, health, how to map the drive. Drawn here, kept fresh by the event
//! stream of the API; no data of users is ever shown on it.

mod files;
mod mapping;
mod node;
mod recipients;
pub(crate) mod run;
pub(crate) mod talk;
mod work;

use maud::{DOCTYPE, Markup, html};

use crate::cli::print::bytes;
use crate::status::{NodeState, StatusReport};
pub(crate) use files::{FILES_SCRIPT, FilesInput, files, files_live};
pub(crate) use mapping::System;
pub(crate) use recipients::{Choice, Recipients};

/// The style sheet, served beside the page.
pub(crate) const STYLE: &str = include_str!("style.css");
/// The script that all pages share, served beside them.
pub(crate) const CALLS_SCRIPT: &str = include_str!("calls.js");
/// The script of the status page, served beside it.
pub(crate) const SCRIPT: &str = include_str!("live.js");

fn frame(title: &str, body: &Markup) -> Markup {
    frame_with(title, &[], body)
}

/// A page with further style sheets.
fn frame_with(title: &str, styles: &[&str], body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="stylesheet" href="/assets/style.css";
                @for style in styles { link rel="stylesheet" href=(style); }
                link rel="icon" href="data:,";
            }
            body { (body) }
        }
    }
}

/// What pages share, and a page's own script.
fn scripts(own: &str) -> Markup {
    html! {
        script src="/assets/calls.js" {}
        script src=(own) {}
    }
}

/// The pages there are, in the order in which they are offered.
pub(crate) const PAGES: [(&str, &str); 5] =
    [("/", "Status"), ("/chat", "Chat"), ("/whiteboard", "Whiteboard"), ("/files", "Files"), ("/run", "Run")];

/// The top of a page: where one can go, and who is signed in.
fn navigation(at: &str, pool: &str, user: &str) -> Markup {
    html! {
        header {
            h1 { "Shoal " small { (pool) } }
            nav aria-label="Pages" {
                @for (path, name) in PAGES {
                    @if path == at { a href=(path) aria-current="page" { (name) } } @else { a href=(path) { (name) } }
                }
            }
            form method="post" action="/sign-out" { span { (user) } " " button.quiet { "Sign out" } }
        }
    }
}

/// The page to sign in. `failed` says why an attempt did not succeed; `next` is the page one comes back to.
#[must_use]
pub(crate) fn sign_in(failed: Option<&str>, next: &str) -> Markup {
    frame(
        "Shoal – sign in",
        &html! {
            main.narrow {
                h1 { "Shoal" }
                form method="post" action="/sign-in" {
                    @if let Some(reason) = failed { p.alert role="alert" { (reason) } }
                    label { "User" input name="user" autocomplete="username" autofocus required; }
                    label { "Password" input name="password" type="password" autocomplete="current-password" required; }
                    input type="hidden" name="next" value=(next);
                    button { "Sign in" }
                }
            }
        },
    )
}

/// What the status page shows beside the report.
pub(crate) struct PageInput<'a> {
    /// The pool's name.
    pub(crate) pool: &'a str,
    /// Who looks.
    pub(crate) user: &'a str,
    /// Whether they may press buttons.
    pub(crate) may_act: bool,
    /// URL of the drive's first volume at this agent, as the visitor reaches it; `None` where it serves none.
    pub(crate) drive: Option<&'a str>,
    /// The visitor's system.
    pub(crate) system: System,
    /// How the pool stands.
    pub(crate) report: &'a StatusReport,
}

/// The status page.
#[must_use]
pub(crate) fn status(input: &PageInput<'_>) -> Markup {
    frame(
        &format!("Shoal – {}", input.pool),
        &html! {
            (navigation("/", input.pool, input.user))
            main {
                div id="live" aria-live="polite" { (live(input.report, input.may_act)) }
                p #stale hidden role="alert" { "This page has lost its agent; what it shows is old. Trying again …" }
                @if let Some(url) = input.drive { (mapping::instructions(url, input.user, input.system)) }
            }
            (scripts("/assets/live.js"))
        },
    )
}

/// The part of the status page that is kept fresh.
#[must_use]
pub(crate) fn live(report: &StatusReport, may_act: bool) -> Markup {
    let capacity: u64 = report.nodes.iter().map(|node| node.capacity_bytes).sum();
    let used: u64 = report.nodes.iter().map(|node| node.used_bytes).sum();
    let stripes = &report.stripes;
    html! {
        p.verdict.(mood(report)) { (report.verdict) }
        dl.figures {
            div { dt { "Agents up" } dd { (report.nodes.iter().filter(|n| n.state.answers()).count()) " of " (report.nodes.len()) } }
            div { dt { "Files survive the loss of" } dd { (count(report.survives, "agent")) } }
            div { dt { "Writing survives the loss of" } dd { (count(report.survives_writing, "agent")) } }
            div { dt { "Disk in use" } dd { (bytes(used)) " of " (bytes(capacity)) } }
            div { dt { "In the trash" } dd { (bytes(report.trash.bytes)) } }
        }
        div.wide {
            table.agents {
                thead {
                    tr {
                        th { "Agent" } th { "State" } th.number { "Used" } th { "Safe to switch off?" }
                        @if may_act { th { "" } }
                    }
                }
                tbody { @for node in &report.nodes { (node::rows(node, may_act)) } }
            }
        }
        p.stripes {
            "Stripes: " (stripes.total) " in all, " (stripes.healthy) " healthy, " (stripes.degraded) " degraded, "
            (stripes.endangered) " endangered, " (stripes.lost) " lost."
        }
        (work::section(report))
    }
}

fn mood(report: &StatusReport) -> &'static str {
    let away = report
        .nodes
        .iter()
        .any(|node| matches!(node.state, NodeState::Suspect | NodeState::Absent | NodeState::Unplugged));
    if report.stripes.lost > 0 || !report.quorum {
        "bad"
    } else if away || report.stripes.degraded + report.stripes.endangered > 0 {
        "warn"
    } else {
        "good"
    }
}

fn count(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
