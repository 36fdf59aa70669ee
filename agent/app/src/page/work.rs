//! What is done to keep the volume whole, on the status page.

use maud::{Markup, html};

use crate::cli::print::{about, bytes};
use crate::status::StatusReport;
use crate::words;

/// A line for each reason something waits for; nothing when nothing does.
pub(super) fn section(report: &StatusReport) -> Markup {
    let Some(work) = &report.work else { return html! {} };
    if work.waiting.is_empty() && work.stuck.stripes == 0 {
        return html! {};
    }
    html! {
        h2 { "Under way" }
        table.work {
            tbody {
                @for (reason, tally) in &work.waiting {
                    tr {
                        td { (words::waiting(*reason, work.settled_in_s)) }
                        td.number { (words::stripes(tally.stripes)) }
                        td.number { (bytes(tally.bytes)) }
                    }
                }
                @if work.stuck.stripes > 0 {
                    tr {
                        td { "Has no place to go: too few agents with room for it" }
                        td.number { (words::stripes(work.stuck.stripes)) }
                        td.number { (bytes(work.stuck.bytes)) }
                    }
                }
            }
        }
        p.note {
            (work.under_way) " under way"
            @if work.rate_bytes_per_s > 0 { ", " (bytes(work.rate_bytes_per_s)) " a second" }
            @if let Some(seconds) = work.eta_s { ", " (about(seconds)) " left" }
            "."
        }
    }
}
