//! The commands that ask a running agent.

use serde_json::Value;
use shoal_ledger::UserRole;
use ureq::http::Method;

use super::client::{Client, line_of_stdin};
use super::print::{answer, bytes, say, table, time};
use super::{AgentChoice, CliError, UserCommand, VolumeCommand, VolumePolicyOptions};
use crate::api::types::{
    InviteAnswer, InviteRequest, NewVolume, NodeList, UserAnswer, UserChange, UserView, VolumeChange, VolumeView,
};
use crate::status::StatusReport;

pub(super) fn status(agent: &AgentChoice, json: bool) -> Result<(), CliError> {
    let value: Value = Client::open(agent)?.get("status")?;
    if json {
        return answer(&value);
    }
    let report: StatusReport =
        serde_json::from_value(value).map_err(|error| CliError::Failed(format!("the agent's status: {error}")))?;
    say!("{}", report.verdict);
    say!("");
    let rows = report.nodes.iter().map(|node| {
        vec![
            node.name.clone(),
            with_failing(node.state.as_str(), node.failing),
            bytes(node.used_bytes),
            bytes(node.capacity_bytes),
        ]
    });
    table(&["AGENT", "STATE", "USED", "OF"], rows);
    let stripes = &report.stripes;
    say!("");
    say!(
        "{} stripes: {} healthy, {} degraded, {} endangered, {} lost.",
        stripes.total,
        stripes.healthy,
        stripes.degraded,
        stripes.endangered,
        stripes.lost
    );
    if report.trash.files > 0 {
        say!("{} in the trash.", bytes(report.trash.bytes));
    }
    Ok(())
}

/// A state with what is wrong beside it.
fn with_failing(state: &str, failing: bool) -> String {
    if failing { format!("{state}, failing") } else { state.to_owned() }
}

pub(super) fn nodes(agent: &AgentChoice, json: bool) -> Result<(), CliError> {
    let list: NodeList = Client::open(agent)?.get("nodes")?;
    if json {
        return answer(&list);
    }
    let rows = list.nodes.iter().map(|node| {
        let part = match (node.leader, node.voter) {
            (true, _) => "leads",
            (_, true) => "votes",
            _ => "",
        };
        vec![
            node.name.clone(),
            node.fingerprint.clone(),
            with_failing(&node.state, node.failing),
            node.standing.to_string(),
            part.to_owned(),
            bytes(node.used_bytes),
            bytes(node.capacity_bytes),
            node.addresses.join(" "),
        ]
    });
    table(&["AGENT", "FINGERPRINT", "STATE", "STANDING", "LEDGER", "USED", "OF", "ADDRESSES"], rows);
    for node in &list.nodes {
        for reason in &node.reasons {
            say!("{}: {reason}", node.name);
        }
    }
    if !list.waiting.is_empty() {
        say!("\nAsking to join (compare the fingerprint, then `shoal node approve FINGERPRINT`):");
        let rows = list
            .waiting
            .iter()
            .map(|w| vec![w.name.clone(), w.fingerprint.clone(), time(w.asked_ms), w.id.to_string()]);
        table(&["AGENT", "FINGERPRINT", "ASKED", "ID"], rows);
    }
    Ok(())
}

pub(super) fn invite(agent: &AgentChoice, hours: u64, store_only: bool, json: bool) -> Result<(), CliError> {
    let request = InviteRequest { expires_s: hours.saturating_mul(3600), store_only };
    let invite: InviteAnswer = Client::open(agent)?.call(Method::POST, "invite", &request)?;
    if json {
        return answer(&invite);
    }
    say!("{}", invite.ticket);
    eprintln!("One agent can join with it, until {}:  shoal join TICKET", time(invite.expires_ms));
    Ok(())
}

pub(super) fn volume(agent: &AgentChoice, command: &VolumeCommand, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let said = match command {
        VolumeCommand::List => return list_volumes(&client, json),
        VolumeCommand::Create { name, policy } => {
            let survive = parse_survive(policy)?.flatten();
            let volume = NewVolume { name: name.clone(), survive, compress: policy.compress };
            client.call::<Value>(Method::POST, "volumes", &volume)?;
            format!("Volume {name} is there.")
        }
        VolumeCommand::Set { name, policy } => {
            let change = VolumeChange { name: None, survive: parse_survive(policy)?, compress: policy.compress };
            client.call::<Value>(Method::PATCH, &format!("volumes/{}", segment(name)), &change)?;
            format!("Volume {name} keeps what is written from now on that way.")
        }
        VolumeCommand::Rename { name, new_name } => {
            let change = VolumeChange { name: Some(new_name.clone()), ..VolumeChange::default() };
            client.call::<Value>(Method::PATCH, &format!("volumes/{}", segment(name)), &change)?;
            format!("Volume {name} is called {new_name} now; drives mapped under the old name must be mapped anew.")
        }
        VolumeCommand::Remove { name, force } => {
            client.call::<Value>(Method::DELETE, &format!("volumes/{}?force={force}", segment(name)), &())?;
            format!("Volume {name} is gone.")
        }
    };
    done(&said, json)
}

fn list_volumes(client: &Client, json: bool) -> Result<(), CliError> {
    let volumes: Vec<VolumeView> = client.get("volumes")?;
    if json {
        return answer(&volumes);
    }
    let rows = volumes.iter().map(|v| {
        vec![
            v.name.clone(),
            v.files.to_string(),
            bytes(v.bytes),
            bytes(v.trash_bytes),
            v.free_bytes.map_or_else(|| "?".into(), bytes),
            v.survive.map_or_else(|| "as the pool".into(), |survive| survive.to_string()),
            if v.compress { "yes" } else { "no" }.to_owned(),
        ]
    });
    table(&["VOLUME", "FILES", "BYTES", "IN TRASH", "FREE", "SURVIVES", "COMPRESSES"], rows);
    Ok(())
}

fn parse_survive(policy: &VolumePolicyOptions) -> Result<Option<Option<u8>>, CliError> {
    match policy.survive.as_deref() {
        None => Ok(None),
        Some("pool") => Ok(Some(None)),
        Some(text) => {
            let number = text.parse().map_err(|_| CliError::Usage(format!("--survive {text}: a number or `pool`")))?;
            Ok(Some(Some(number)))
        }
    }
}

pub(super) fn user(agent: &AgentChoice, command: &UserCommand, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let (name, change) = match command {
        UserCommand::List => return list_users(&client, json),
        UserCommand::Remove { name } => {
            client.call::<Value>(Method::DELETE, &format!("users/{}", segment(name)), &())?;
            return done(&format!("{name} is no user any more."), json);
        }
        UserCommand::Add { name, role, password_stdin } => {
            let role: UserRole = serde_json::from_value(Value::String(role.clone()))
                .map_err(|_| CliError::Usage(format!("--role {role}: viewer, user, operator or admin")))?;
            let password = password_stdin.then(line_of_stdin).transpose()?;
            (name, UserChange { role: Some(role), generate: password.is_none(), password, only_new: true })
        }
        UserCommand::Passwd { name, password_stdin } => {
            // Nobody is added by mistyping a name.
            let users: Vec<UserView> = client.get("users")?;
            if !users.iter().any(|user| &user.name == name) {
                let error = crate::api::types::ApiError::new(format!("there is no user {name}"));
                return Err(CliError::Api { status: 404, error });
            }
            let password = password_stdin.then(line_of_stdin).transpose()?;
            (name, UserChange { role: None, generate: password.is_none(), password, only_new: false })
        }
    };
    let user: UserAnswer = client.call(Method::PUT, &format!("users/{}", segment(name)), &change)?;
    if json {
        return answer(&user);
    }
    match &user.password {
        Some(password) => say!("Password of {name} (told only now): {password}"),
        None => say!("{name} can sign in with that password."),
    }
    Ok(())
}

fn list_users(client: &Client, json: bool) -> Result<(), CliError> {
    let users: Vec<UserView> = client.get("users")?;
    if json {
        return answer(&users);
    }
    let role = |user: &UserView| serde_json::to_value(user.role).ok().and_then(|v| v.as_str().map(str::to_owned));
    let rows = users.iter().map(|u| vec![u.name.clone(), role(u).unwrap_or_default(), time(u.created_ms)]);
    table(&["USER", "ROLE", "SINCE"], rows);
    Ok(())
}

fn done(said: &str, json: bool) -> Result<(), CliError> {
    if json {
        return answer(&serde_json::json!({ "done": true }));
    }
    say!("{said}");
    Ok(())
}

/// A name as one segment of a URL path.
pub(crate) fn segment(name: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    name.bytes().map(|byte| if keep(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(segment("a b/c?ü"), "a%20b%2Fc%3F%C3%BC");
    }
}
