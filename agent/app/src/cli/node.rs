//! `shoal node`: tending one agent.

use std::io::{BufRead as _, IsTerminal as _};

use clap::Subcommand;
use serde_json::Value;
use ureq::http::Method;

use super::client::Client;
use super::drain;
use super::print::{answer, bytes, count, say, time};
use super::{AgentChoice, CliError};
use crate::api::types::{ApiError, CertificateView, NodeAction, NodeList, SafeView};
use crate::outlook::{MakeSafe, RemovalLoss};
use crate::words::stripes;

#[derive(Subcommand)]
pub(super) enum NodeCommand {
    /// Let an agent in that asked to join without a ticket. Compare its fingerprint first.
    ///
    /// Example: shoal node approve oheZ6t6H
    Approve {
        /// Its id, fingerprint or name.
        node: String,
    },
    /// Turn away an agent that asked to join.
    ///
    /// Example: shoal node reject oheZ6t6H
    Reject {
        /// Its id, fingerprint or name.
        node: String,
    },
    /// Give it nothing new, for maintenance.
    ///
    /// Example: shoal node pause office-pc
    Pause {
        /// Its id, fingerprint or name.
        node: String,
    },
    /// End a pause, or cancel a drain.
    ///
    /// Example: shoal node resume office-pc
    Resume {
        /// Its id, fingerprint or name.
        node: String,
    },
    /// Change its nickname.
    ///
    /// Example: shoal node rename office-pc front-desk
    Rename {
        /// Its id, fingerprint or name.
        node: String,
        /// The new nickname.
        name: String,
    },
    /// Empty it: everything on it goes to the others while the drive is in use. It ends with a signed certificate.
    ///
    /// Example: shoal node drain office-pc --wait
    Drain {
        /// Its id, fingerprint or name.
        node: String,
        /// Wait until it is emptied and show how far it is. Ctrl-C ends the waiting, not the drain.
        #[arg(long, conflicts_with = "plan")]
        wait: bool,
        /// Show what would move and change nothing.
        #[arg(long)]
        plan: bool,
    },
    /// Whether it can be switched off now, and what would be if it were. Exit code 12 if it cannot.
    ///
    /// Example: shoal node safe office-pc
    Safe {
        /// Its id, fingerprint or name.
        node: String,
        /// If it is not safe and draining it helps, start that.
        #[arg(long)]
        make: bool,
    },
    /// The proof that nothing counts on what it holds, and whether its signature holds.
    ///
    /// Example: shoal node certificate office-pc --json
    Certificate {
        /// Its id, fingerprint or name.
        node: String,
    },
    /// Strike it off the pool. Refused unless it was emptied with `shoal node drain`.
    ///
    /// Example: shoal node remove office-pc
    Remove {
        /// Its id, fingerprint or name.
        node: String,
        /// Strike it off though it was not emptied. Shows first what would be lost.
        #[arg(long)]
        force: bool,
        /// With --force: do it without asking.
        #[arg(long, requires = "force")]
        yes: bool,
    },
}

pub(super) fn node(agent: &AgentChoice, command: &NodeCommand, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let (node, action, said) = match command {
        NodeCommand::Drain { node, wait, plan } => {
            let id = find(&client, node)?;
            return if *plan { drain::plan(&client, &id, json) } else { drain::drain(&client, &id, node, *wait, json) };
        }
        NodeCommand::Safe { node, make } => return safe(&client, &find(&client, node)?, *make, json),
        NodeCommand::Certificate { node } => return certificate(&client, &find(&client, node)?, json),
        NodeCommand::Remove { node, force, yes } => {
            if *force && !may_lose(&client, &find(&client, node)?, node, *yes, json)? {
                return Ok(());
            }
            (node, NodeAction::Remove { force: *force }, "is no member any more")
        }
        NodeCommand::Approve { node } => (node, NodeAction::Approve, "is a member now"),
        NodeCommand::Reject { node } => (node, NodeAction::Reject, "was turned away"),
        NodeCommand::Pause { node } => (node, NodeAction::Pause, "is paused: it is given nothing new"),
        NodeCommand::Resume { node } => (node, NodeAction::Resume, "takes part again"),
        NodeCommand::Rename { node, name } => (node, NodeAction::Rename { name: name.clone() }, "has its new name"),
    };
    let id = find(&client, node)?;
    client.call::<Value>(Method::POST, &format!("nodes/{id}"), &action)?;
    if json {
        return answer(&serde_json::json!({ "id": id }));
    }
    say!("{node} {said}.");
    Ok(())
}

/// The id of the one agent that a person's word names: an id, a fingerprint or a nickname.
fn find(client: &Client, word: &str) -> Result<String, CliError> {
    let list: NodeList = client.get("nodes")?;
    let all = list.nodes.iter().map(|n| (n.id.to_string(), &n.fingerprint, &n.name));
    let all = all.chain(list.waiting.iter().map(|w| (w.id.to_string(), &w.fingerprint, &w.name)));
    let found: Vec<String> = all
        .filter(|(id, fingerprint, name)| id == word || *fingerprint == word || *name == word)
        .map(|(id, ..)| id)
        .collect();
    match found.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(CliError::Api {
            status: 404,
            error: ApiError { error: format!("no agent is called {word}"), hint: Some("See `shoal nodes`.".into()) },
        }),
        _ => {
            Err(CliError::Usage(format!("{} agents are called {word}; name one by its id or fingerprint", found.len())))
        }
    }
}

fn safe(client: &Client, id: &str, make: bool, json: bool) -> Result<(), CliError> {
    let mut view: SafeView = client.get(&format!("nodes/{id}/safe"))?;
    let starts = make && view.switch_off.action == Some(MakeSafe::Drain) && view.drain.is_none();
    if starts {
        client.call::<Value>(Method::POST, &format!("nodes/{id}"), &NodeAction::Drain)?;
        view = client.get(&format!("nodes/{id}/safe"))?;
    }
    let told = &view.switch_off;
    if json {
        answer(&view)?;
    } else {
        say!("{}", told.sentence);
        say!("");
        say!("If it went away now:");
        say!("  {} could not be read", stripes(told.unreadable));
        say!("  {} could lose nothing more", stripes(told.endangered));
        say!("  {} would lack a shard and could spare more", stripes(told.degraded));
        say!("  writing would {}", if told.writing_goes_on { "go on" } else { "stop" });
        if starts {
            say!("\nIt is being drained now; `shoal node drain {} --wait` shows how far it is.", view.name);
        } else if let Some(action) = told.action {
            say!("\nTo make it safe: {}", action.advice());
            if action == MakeSafe::Drain {
                say!("  shoal node safe {} --make    starts that", view.name);
            }
        }
    }
    if told.safe { Ok(()) } else { Err(CliError::NotSafe(view.name)) }
}

fn certificate(client: &Client, id: &str, json: bool) -> Result<(), CliError> {
    let view: CertificateView = client.get(&format!("nodes/{id}/certificate"))?;
    if json {
        answer(&view)?;
    } else {
        say!("{}", view.statement.trim_end());
        say!("");
        let signer = view.signer_name.clone().unwrap_or_else(|| view.signer.to_string());
        say!("Signed by {signer} on {}: {}", time(view.issued_ms), view.signature);
        say!("The signature {}.", if view.genuine { "holds" } else { "does NOT hold" });
        if !view.empty_now {
            say!("Since then {} has been given shards again.", view.name);
        }
    }
    if view.genuine && view.empty_now {
        return Ok(());
    }
    let why = if view.genuine { "is out of date" } else { "is not genuine" };
    Err(CliError::Refused(format!("the certificate of {} {why}", view.name)))
}

/// Tells what striking an agent off would cost, and whether to go on.
fn may_lose(client: &Client, id: &str, name: &str, yes: bool, json: bool) -> Result<bool, CliError> {
    let loss: RemovalLoss = client.get(&format!("nodes/{id}/loss"))?;
    if loss.shards == 0 {
        return Ok(true);
    }
    if !json {
        tell_loss(name, &loss);
    }
    if yes || (!json && std::io::stdin().is_terminal() && agreed()) {
        return Ok(true);
    }
    if json {
        answer(&loss)?;
    }
    Err(CliError::Refused(format!(
        "nothing was changed; to strike {name} off all the same add --yes, to keep everything drain it first"
    )))
}

fn tell_loss(name: &str, loss: &RemovalLoss) {
    say!("{} shards on {name} are counted on. Without it:", loss.shards);
    say!("  {} could not be read any more ({})", stripes(loss.unreadable), bytes(loss.unreadable_bytes));
    say!("  {} could lose nothing more ({})", stripes(loss.endangered), bytes(loss.endangered_bytes));
    if let Some(total) = loss.files_total.filter(|total| *total > 0) {
        say!("\n{} would be lost:", count(total, "file"));
        loss.files.iter().for_each(|file| say!("  {file}"));
        if total > loss.files.len() as u64 {
            say!("  …");
        }
    }
}

fn agreed() -> bool {
    eprint!("\nType yes to strike it off: ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == "yes"
}
