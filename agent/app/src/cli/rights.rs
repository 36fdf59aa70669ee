//! `shoal right`, `shoal group`, `shoal type`: who may send what to whom.

use clap::Subcommand;
use serde_json::Value;
use shoal_ledger::UserRole;
use ureq::http::Method;

use super::client::Client;
use super::commands::segment;
use super::duration;
use super::print::{answer, harmless, say, table, time};
use super::{AgentChoice, CliError};
use crate::api::{GroupChange, GroupView, RightGrant, RightView, TypeChange, TypeView};

#[derive(Subcommand)]
pub(super) enum RightCommand {
    /// All rights given, by whom and until when.
    ///
    /// Example: shoal right list
    List,
    /// Give a user the right to send messages of a type that needs one, such as `run`.
    ///
    /// Example: shoal right grant ana run --for 8h
    Grant {
        /// Whom.
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        user: String,
        /// Messages of which type.
        #[arg(value_name = "TYPE")]
        kind: String,
        /// For how long: a number with s, m, h, d or w [default: until it is taken back].
        #[arg(long = "for", value_name = "TIME")]
        lasts: Option<String>,
    },
    /// Take a right back.
    ///
    /// Example: shoal right revoke ana run
    Revoke {
        /// Whose.
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        user: String,
        /// Messages of which type.
        #[arg(value_name = "TYPE")]
        kind: String,
    },
}

#[derive(Subcommand)]
pub(super) enum GroupCommand {
    /// All groups and their agents.
    ///
    /// Example: shoal group list
    List,
    /// Have a name stand for these agents, in the place of those it stood for.
    ///
    /// Example: shoal group set lab pc-1 pc-2 pc-3
    Set {
        /// Its name: letters a to z, digits, `.`, `-`, `_`.
        name: String,
        /// Its agents, by name, id or fingerprint.
        #[arg(required = true, value_name = "NODE")]
        agents: Vec<String>,
    },
    /// Have a name stand for nothing.
    ///
    /// Example: shoal group remove lab
    Remove {
        /// Its name.
        name: String,
    },
}

#[derive(Subcommand)]
pub(super) enum TypeCommand {
    /// What an admin has said of types of messages; of all others counts what their peerlet asks for.
    ///
    /// Example: shoal type list
    List,
    /// Say what it takes to send messages of a type. What executes commands needs a right whatever is said here.
    ///
    /// Example: shoal type set chat --role viewer
    Set {
        /// Which type.
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The least role: viewer, user, operator or admin.
        #[arg(long)]
        role: String,
        /// A right is needed besides, whatever the role (`shoal right grant`).
        #[arg(long)]
        right: bool,
    },
    /// Have count what the type's peerlet asks for.
    ///
    /// Example: shoal type reset chat
    Reset {
        /// Which type.
        #[arg(value_name = "TYPE")]
        kind: String,
    },
}

pub(super) fn right(agent: &AgentChoice, command: &RightCommand, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    match command {
        RightCommand::List => list_rights(&client, json),
        RightCommand::Grant { user, kind, lasts } => {
            let expires_s = lasts.as_deref().map(|lasts| duration::seconds("--for", lasts)).transpose()?;
            let grant = RightGrant { user: user.clone(), kind: type_named(kind)?, expires_s };
            let right: RightView = client.call(Method::PUT, "rights", &grant)?;
            if json {
                return answer(&right);
            }
            match right.expires_ms {
                Some(end_ms) => say!("{user} may send messages of type {kind} until {}.", time(end_ms)),
                None => say!("{user} may send messages of type {kind} until that is taken back."),
            }
            right.warnings.iter().for_each(|warning| eprintln!("warning: {}", harmless(warning)));
            Ok(())
        }
        RightCommand::Revoke { user, kind } => {
            let path = format!("rights/{}/{}", segment(user), segment(kind));
            let done: Value = client.call(Method::DELETE, &path, &())?;
            told(&done, &format!("{user} has no right to send messages of type {kind} any more."), json)
        }
    }
}

fn list_rights(client: &Client, json: bool) -> Result<(), CliError> {
    let rights: Vec<RightView> = client.get("rights")?;
    if json {
        return answer(&rights);
    }
    if rights.is_empty() {
        say!("Nobody has a right: what needs one, such as `run`, is off.");
        return Ok(());
    }
    let rows = rights.iter().map(|right| {
        let end = match (right.expires_ms, right.ended) {
            (None, _) => "until it is taken back".to_owned(),
            (Some(end_ms), false) => format!("until {}", time(end_ms)),
            (Some(end_ms), true) => format!("ended {}", time(end_ms)),
        };
        vec![right.user.clone(), right.kind.to_string(), end, right.granted_by.clone(), time(right.granted_ms)]
    });
    table(&["USER", "TYPE", "LASTS", "GIVEN BY", "GIVEN"], rows);
    Ok(())
}

pub(super) fn group(agent: &AgentChoice, command: &GroupCommand, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    match command {
        GroupCommand::List => {
            let groups: Vec<GroupView> = client.get("groups")?;
            if json {
                return answer(&groups);
            }
            if groups.is_empty() {
                say!("There are no groups: `shoal group set NAME NODE…` makes one.");
                return Ok(());
            }
            let rows = groups.iter().map(|group| vec![group.name.to_string(), members(group)]);
            table(&["GROUP", "AGENTS"], rows);
            Ok(())
        }
        GroupCommand::Set { name, agents } => {
            let change = GroupChange { agents: agents.clone() };
            let group: GroupView = client.call(Method::PUT, &format!("groups/{}", segment(name)), &change)?;
            if json {
                return answer(&group);
            }
            say!("{name} stands for {}.", members(&group));
            Ok(())
        }
        GroupCommand::Remove { name } => {
            let done: Value = client.call(Method::DELETE, &format!("groups/{}", segment(name)), &())?;
            told(&done, &format!("{name} stands for nothing any more."), json)
        }
    }
}

fn members(group: &GroupView) -> String {
    group.agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>().join(" ")
}

pub(super) fn kind(agent: &AgentChoice, command: &TypeCommand, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    match command {
        TypeCommand::List => {
            let types: Vec<TypeView> = client.get("types")?;
            if json {
                return answer(&types);
            }
            if types.is_empty() {
                say!("Nothing was said of any type: what their peerlets ask for counts.");
                return Ok(());
            }
            let right = |one: &TypeView| if one.right { "needed" } else { "as its peerlet asks" }.to_owned();
            let rows = types.iter().map(|one| vec![one.kind.to_string(), one.role.as_str().to_owned(), right(one)]);
            table(&["TYPE", "LEAST ROLE", "RIGHT"], rows);
            Ok(())
        }
        TypeCommand::Set { kind, role, right } => {
            let role: UserRole = serde_json::from_value(Value::String(role.clone()))
                .map_err(|_| CliError::Usage(format!("--role {role}: viewer, user, operator or admin")))?;
            let change = TypeChange { role, right: *right };
            let said: TypeView = client.call(Method::PUT, &format!("types/{}", segment(kind)), &change)?;
            if json {
                return answer(&said);
            }
            let besides = if *right { " and a right" } else { "" };
            say!("Messages of type {kind} take the role {} or a higher one{besides}.", role.as_str());
            Ok(())
        }
        TypeCommand::Reset { kind } => {
            let done: Value = client.call(Method::DELETE, &format!("types/{}", segment(kind)), &())?;
            told(&done, &format!("Messages of type {kind} take what their peerlet asks for."), json)
        }
    }
}

fn type_named(kind: &str) -> Result<dci_proto::message::MessageType, CliError> {
    kind.parse().map_err(|error: dci_proto::message::NameError| CliError::Usage(error.to_string()))
}

fn told(done: &Value, said: &str, json: bool) -> Result<(), CliError> {
    if json {
        return answer(done);
    }
    say!("{said}");
    Ok(())
}
