//! `shoal policy`: how safe data is kept, and how patient the pool is.

use clap::{Args, Subcommand};
use ureq::http::Method;

use super::client::Client;
use super::duration;
use super::print::{answer, say, table};
use super::{AgentChoice, CliError};
use crate::api::types::{PolicyChange, PolicyView};

#[derive(Subcommand)]
pub(super) enum PolicyCommand {
    /// Print it.
    ///
    /// Example: shoal policy show
    Show,
    /// Change what is named; the rest stays. Times are a number with s, m, h, d or w.
    ///
    /// Example: shoal policy set --survive 2 --absent-after 30m
    Set(PolicyOptions),
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(super) struct PolicyOptions {
    /// How many agents may be lost without losing data (0 to 8).
    #[arg(long)]
    survive: Option<u8>,
    /// How long an agent may be silent before what it holds is made anew elsewhere.
    #[arg(long, value_name = "TIME")]
    absent_after: Option<String>,
    /// How long agents must have come or gone unchanged before stripes are cut anew for those there are.
    #[arg(long, value_name = "TIME")]
    restripe_after: Option<String>,
    /// The time in which every agent reads all its shards again.
    #[arg(long, value_name = "TIME")]
    scrub_every: Option<String>,
    /// How long deleted and overwritten files are kept; 0: not at all.
    #[arg(long, value_name = "TIME")]
    trash_keep: Option<String>,
}

pub(super) fn policy(agent: &AgentChoice, command: &PolicyCommand, json: bool) -> Result<(), CliError> {
    let policy: PolicyView = match command {
        PolicyCommand::Show => Client::open(agent)?.get("policy")?,
        PolicyCommand::Set(options) => {
            let time = |option: &str, text: &Option<String>| {
                text.as_deref().map(|text| duration::seconds(option, text)).transpose()
            };
            let change = PolicyChange {
                survive: options.survive,
                absent_after_s: time("--absent-after", &options.absent_after)?,
                restripe_after_s: time("--restripe-after", &options.restripe_after)?,
                scrub_period_s: time("--scrub-every", &options.scrub_every)?,
                trash_keep_s: time("--trash-keep", &options.trash_keep)?,
            };
            Client::open(agent)?.call(Method::PUT, "policy", &change)?
        }
    };
    if json {
        return answer(&policy);
    }
    say!("{}", promise(policy.survive, policy.stores));
    say!("");
    let rows = [
        ("survive", policy.survive.to_string(), "agents that may be lost without losing data"),
        (
            "absent-after",
            duration::exact(policy.absent_after_s),
            "a silent agent's shards are then made anew elsewhere",
        ),
        ("restripe-after", duration::exact(policy.restripe_after_s), "agents came or went: then stripes are cut anew"),
        ("scrub-every", duration::exact(policy.scrub_period_s), "in that time every shard is read and checked"),
        ("trash-keep", duration::exact(policy.trash_keep_s), "deleted and overwritten files are kept so long"),
    ];
    table(
        &["POLICY", "IS", "WHAT IT MEANS"],
        rows.into_iter().map(|(name, is, what)| vec![name.into(), is, what.into()]),
    );
    Ok(())
}

/// What the policy comes to with so many agents that hold shards.
fn promise(survive: u8, stores: usize) -> String {
    let agents = |number: usize| if number == 1 { "1 agent".to_owned() } else { format!("{number} agents") };
    let (asked, needed) = (usize::from(survive), usize::from(survive) + 1);
    if asked == 0 {
        return "What is written is kept once: no agent may be lost.".to_owned();
    }
    if stores >= needed {
        return format!("What is written is kept so that any {} may be lost.", agents(asked));
    }
    let now = match stores.saturating_sub(1) {
        0 => "no agent may be lost".to_owned(),
        possible => format!("any {} may be lost", agents(possible)),
    };
    let there = if stores == 1 { "there is 1".to_owned() } else { format!("there are {stores}") };
    format!(
        "Asked is that any {} may be lost. That takes {needed} agents with shards, and {there}: until more join, {now}.",
        agents(asked)
    )
}

#[cfg(test)]
mod tests {
    use super::promise;

    #[test]
    fn nothing_is_promised_that_the_agents_there_are_cannot_keep() {
        for (survive, stores, expected) in [
            (0, 3, "What is written is kept once: no agent may be lost."),
            (2, 3, "What is written is kept so that any 2 agents may be lost."),
            (
                7,
                3,
                "Asked is that any 7 agents may be lost. That takes 8 agents with shards, and there are 3: until more join, any \
                 2 agents may be lost.",
            ),
            (
                1,
                1,
                "Asked is that any 1 agent may be lost. That takes 2 agents with shards, and there is 1: until more join, no \
                 agent may be lost.",
            ),
        ] {
            assert_eq!(promise(survive, stores), expected);
        }
    }
}
