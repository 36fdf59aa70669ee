//! What the upkeep does and why, in words: the same on the page and in the CLI.

use shoal_care::Reason;

/// Why a stripe is worked on, as a line of a list says it.
pub(crate) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Endangered => "Rebuilding what can lose nothing more",
        Reason::Degraded => "Rebuilding what lacks shards",
        Reason::LessThanAsked => "Cutting anew what is kept with less care than is asked",
        Reason::Failing => "Moving off agents that are likely to fail",
        Reason::Drain => "Moving off agents that are drained",
        Reason::Owed => "Giving room back to owners",
        Reason::Balance => "Evening out how full the agents are",
        Reason::Recut => "Cutting anew for the agents there are now",
    }
}

/// What waits for a reason, as a line of a list says it: work that is put off is not told as work.
pub(crate) fn waiting(reason: Reason, settled_in_s: u64) -> &'static str {
    match reason {
        Reason::Recut if settled_in_s > 0 => "To be cut anew once agents have stayed as they are for a while",
        reason => self::reason(reason),
    }
}

/// Why a stripe is worked on, as metrics and JSON call it.
pub(crate) fn reason_label(reason: Reason) -> &'static str {
    match reason {
        Reason::Endangered => "endangered",
        Reason::Degraded => "degraded",
        Reason::LessThanAsked => "less-than-asked",
        Reason::Failing => "failing",
        Reason::Drain => "drain",
        Reason::Owed => "owed",
        Reason::Balance => "balance",
        Reason::Recut => "recut",
    }
}

/// So many stripes.
pub(crate) fn stripes(number: u64) -> String {
    if number == 1 { "1 stripe".to_owned() } else { format!("{number} stripes") }
}

#[cfg(test)]
mod tests {
    use shoal_care::Reason;

    #[test]
    fn metrics_call_reasons_as_json_does() {
        for reason in [
            Reason::Endangered,
            Reason::Degraded,
            Reason::LessThanAsked,
            Reason::Failing,
            Reason::Drain,
            Reason::Owed,
            Reason::Balance,
            Reason::Recut,
        ] {
            assert_eq!(serde_json::to_value(reason).ok(), Some(super::reason_label(reason).into()));
        }
    }
}
