//! Files between agents: what came, what is sent, how far each is, and a form to send some.

use maud::{Markup, html};

use super::recipients::{self, Recipients};
use super::{frame, navigation, scripts};
use crate::api::files::types::{FilesList, IncomingView, OutgoingView, RecipientProgress};
use crate::cli::print::{about, bytes, time};

/// The script of the page, served beside it.
pub(crate) const FILES_SCRIPT: &str = include_str!("files.js");

/// What the page shows.
pub(crate) struct FilesInput<'a> {
    /// The pool's name.
    pub(crate) pool: &'a str,
    /// Who looks.
    pub(crate) user: &'a str,
    /// To whom one can send.
    pub(crate) recipients: &'a Recipients,
    /// The transfers.
    pub(crate) list: &'a FilesList,
}

/// The page.
#[must_use]
pub(crate) fn files(input: &FilesInput<'_>) -> Markup {
    frame(
        &format!("Shoal – files – {}", input.pool),
        &html! {
            (navigation("/files", input.pool, input.user))
            main {
                form #send {
                    h2 { "Send" }
                    div #drop {
                        label { "Files" input #pick type="file" multiple; }
                        label { "or a folder" input #pick-folder type="file" webkitdirectory; }
                    }
                    (recipients::choose("To", input.recipients, false))
                    label { "Note" input name="note" maxlength="1000" autocomplete="off"; }
                    button { "Send" } " "
                    progress #sending hidden max="1" value="0" {}
                    p #said role="status" {}
                }
                div id="live" aria-live="polite" { (files_live(input.list)) }
                p #stale hidden role="alert" { "This page has lost its agent; what it shows is old. Trying again …" }
            }
            (scripts("/assets/files.js"))
        },
    )
}

/// The part of the page that is kept fresh.
#[must_use]
pub(crate) fn files_live(list: &FilesList) -> Markup {
    html! {
        h2 { "Received" }
        @if list.incoming.is_empty() { p.note { "Nothing came to this computer." } }
        @for one in &list.incoming { (incoming(one)) }
        h2 { "Sent" }
        @if list.outgoing.is_empty() { p.note { "Nothing is sent from this computer." } }
        @for one in &list.outgoing { (outgoing(one)) }
        p.note { (bytes(list.kept_bytes)) " of at most " (bytes(list.cap_bytes)) " are kept for files here." }
    }
}

fn incoming(one: &IncomingView) -> Markup {
    html! {
        article.transfer data-transfer=(one.transfer) {
            div.line {
                strong { (what(one.files, one.bytes)) } " from " (one.user) "@" (one.from.name)
                span.note { " " (time(one.received_ms)) }
                span.state.(one.state) { (one.state) }
                button.quiet data-remove=(one.transfer) { "Remove" }
            }
            @if !one.note.is_empty() { p.said { (one.note) } }
            (progress(&one.state, one.bytes, one.have_bytes, one.rate_bytes_s, one.eta_s))
            @if let Some(why) = &one.why { p.note { (why) } }
            @if one.state == "done" {
                details data-entries=(one.transfer) {
                    summary { "Files" }
                    @if one.files > 1 {
                        p { a href={ "/api/v1/files/" (one.transfer) "/archive" } download { "Download all as a ZIP archive" } }
                    }
                    ul {}
                }
            }
        }
    }
}

fn outgoing(one: &OutgoingView) -> Markup {
    let state = outcome(one);
    html! {
        article.transfer data-transfer=(one.transfer) {
            div.line {
                strong { (what(one.files, one.bytes)) }
                @if !one.to.is_empty() { " to " (one.to) }
                " by " (one.user)
                span.note { " " (time(one.created_ms)) }
                span.state.(state) { (state) }
                button.quiet data-remove=(one.transfer) { "Remove" }
            }
            @if !one.note.is_empty() { p.said { (one.note) } }
            @if let Some(why) = &one.why { p.note { (why) } }
            @if !one.recipients.is_empty() {
                table.recipients { @for recipient in &one.recipients { (row(recipient, one.bytes)) } }
            }
        }
    }
}

/// What became of it in the end, if it has ended; until then how far it is.
fn outcome(one: &OutgoingView) -> &str {
    let all = |state| !one.recipients.is_empty() && one.recipients.iter().all(|recipient| recipient.state == state);
    match one.state.as_str() {
        "ended" if all("done") => "done",
        "ended" if all("failed") || one.why.is_some() => "failed",
        state => state,
    }
}

fn row(recipient: &RecipientProgress, total: u64) -> Markup {
    html! {
        tr {
            td { (recipient.name) }
            td { span.state.(recipient.state) { (recipient.state) } }
            td {
                (progress(&recipient.state, total, recipient.have_bytes, recipient.rate_bytes_s, recipient.eta_s))
                @if let Some(why) = &recipient.why { span.note { (why) } }
            }
        }
    }
}

fn progress(state: &str, total: u64, have: u64, rate: Option<u64>, eta_s: Option<u64>) -> Markup {
    let going = matches!(state, "receiving" | "waiting" | "accepted");
    html! {
        @if going && have > 0 {
            progress max=(total.max(1)) value=(have) {}
            span.note {
                " " (percent(have, total)) " % of " (bytes(total))
                @if let Some(rate) = rate { ", " (bytes(rate)) "/s" }
                @if let Some(eta_s) = eta_s { ", " (about(eta_s)) " left" }
            }
        }
    }
}

fn percent(have: u64, total: u64) -> u64 {
    if total == 0 { 100 } else { u64::try_from(u128::from(have) * 100 / u128::from(total)).unwrap_or(100) }
}

fn what(files: u64, size: u64) -> String {
    format!("{files} file{}, {}", if files == 1 { "" } else { "s" }, bytes(size))
}
