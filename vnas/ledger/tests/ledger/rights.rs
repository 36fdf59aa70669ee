//! Groups, and who may send what. [`Ledger::answer`] recounts after each step.

use dci_proto::AgentId;
use dci_proto::message::{GroupName, MessageType};
use shoal_ledger::{Command, Rejection, SendRefusal, TypePolicy, UserRecord, UserRole, query};

use crate::harness::Ledger;

fn id(number: u8) -> AgentId {
    AgentId([number; 32])
}

fn group(name: &str) -> GroupName {
    name.parse().expect("a name")
}

fn kind(name: &str) -> MessageType {
    name.parse().expect("a type")
}

fn agents_of(ledger: &Ledger, name: &str) -> Option<Vec<AgentId>> {
    query::group(&ledger.kv, &group(name)).expect("memory does not fail").map(|group| group.agents)
}

fn with_users() -> Ledger {
    let mut ledger = Ledger::new();
    let roles = [("vera", UserRole::Viewer), ("ana", UserRole::User), ("ada", UserRole::Admin)];
    for (name, role) in roles {
        let (name, password_hash) = (name.to_owned(), "$argon2id$".to_owned());
        ledger.ok(Command::PutUser(UserRecord { name, password_hash, role, created_ms: 0 }));
    }
    ledger
}

fn may(ledger: &Ledger, user: &str, kind_name: &str, executes: bool) -> Result<(), SendRefusal> {
    let asks = TypePolicy { right: executes, ..TypePolicy::default() };
    let now_ms = query::time_ms(&ledger.kv).expect("memory does not fail");
    query::may_send(&ledger.kv, user, &kind(kind_name), asks, now_ms).expect("memory does not fail").map(|_| ())
}

fn grant(user: &str, kind_name: &str, expires_ms: Option<u64>) -> Command {
    Command::GrantRight { user: user.to_owned(), kind: kind(kind_name), expires_ms, granted_by: "ada".to_owned() }
}

#[test]
fn a_group_has_members_each_once_and_loses_who_leaves() {
    let mut ledger = Ledger::new();
    ledger.ok(Command::PutGroup { name: group("lab"), agents: vec![id(3), id(2), id(3)] });
    assert_eq!(agents_of(&ledger, "lab"), Some(vec![id(2), id(3)]));
    let stranger = Command::PutGroup { name: group("lab"), agents: vec![id(2), id(9)] };
    assert!(matches!(ledger.refused(stranger), Rejection::UnknownAgent(_)));
    ledger.ok(Command::RemoveAgent { agent: id(3), force: true });
    assert_eq!(agents_of(&ledger, "lab"), Some(vec![id(2)]));
    ledger.ok(Command::RemoveGroup { name: group("lab") });
    assert_eq!(agents_of(&ledger, "lab"), None);
    assert!(matches!(ledger.refused(Command::RemoveGroup { name: group("lab") }), Rejection::NotFound(_)));
}

#[test]
fn a_user_sends_and_a_viewer_does_not_unless_an_admin_says_so() {
    let mut ledger = with_users();
    assert_eq!(may(&ledger, "ana", "chat", false), Ok(()));
    assert!(matches!(may(&ledger, "vera", "chat", false), Err(SendRefusal::Role { has: UserRole::Viewer, .. })));
    assert!(matches!(may(&ledger, "nobody", "chat", false), Err(SendRefusal::UnknownUser(_))));
    let policy = Some(TypePolicy { role: UserRole::Viewer, right: false });
    ledger.ok(Command::SetTypePolicy { kind: kind("chat"), policy });
    assert_eq!(may(&ledger, "vera", "chat", false), Ok(()));
    ledger.ok(Command::SetTypePolicy { kind: kind("board"), policy });
    let said = query::type_policies(&ledger.kv).expect("memory does not fail");
    let names: Vec<&str> = said.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(names, ["board", "chat"]);
    ledger.ok(Command::SetTypePolicy { kind: kind("chat"), policy: None });
    assert!(may(&ledger, "vera", "chat", false).is_err());
    let reserved = Command::SetTypePolicy { kind: kind("shoal.receipt"), policy };
    assert!(matches!(ledger.refused(reserved), Rejection::Invalid(_)));
}

#[test]
fn what_executes_needs_a_right_even_of_an_admin_until_it_ends() {
    let mut ledger = with_users();
    for user in ["ana", "ada"] {
        assert!(matches!(may(&ledger, user, "run", true), Err(SendRefusal::NoRight { .. })), "{user}");
    }
    let end_ms = ledger.time_ms + 1_000;
    ledger.ok(grant("ana", "run", Some(end_ms)));
    assert_eq!(may(&ledger, "ana", "run", true), Ok(()));
    assert!(may(&ledger, "ada", "run", true).is_err(), "a right is one user's");
    assert!(may(&ledger, "ana", "install", true).is_err(), "and for one type");
    ledger.time_ms = end_ms;
    ledger.ok(Command::Tick);
    assert!(matches!(may(&ledger, "ana", "run", true), Err(SendRefusal::Ended { .. })));
    assert!(matches!(ledger.refused(grant("ana", "run", Some(end_ms))), Rejection::Invalid(_)), "in the past");
    ledger.ok(grant("ana", "run", None));
    assert_eq!(may(&ledger, "ana", "run", true), Ok(()));
    ledger.ok(Command::RevokeRight { user: "ana".to_owned(), kind: kind("run") });
    assert!(may(&ledger, "ana", "run", true).is_err());
}

#[test]
fn a_policy_cannot_open_what_executes() {
    let mut ledger = with_users();
    let open = Some(TypePolicy { role: UserRole::Viewer, right: false });
    ledger.ok(Command::SetTypePolicy { kind: kind("run"), policy: open });
    assert!(matches!(may(&ledger, "ana", "run", true), Err(SendRefusal::NoRight { .. })));
    let closed = Some(TypePolicy { role: UserRole::User, right: true });
    ledger.ok(Command::SetTypePolicy { kind: kind("chat"), policy: closed });
    assert!(matches!(may(&ledger, "ana", "chat", false), Err(SendRefusal::NoRight { .. })));
}

#[test]
fn rights_go_with_their_user() {
    let mut ledger = with_users();
    assert!(matches!(ledger.refused(grant("nobody", "run", None)), Rejection::NotFound(_)));
    ledger.ok(grant("ana", "run", None));
    ledger.ok(grant("ada", "run", None));
    let ana = query::user(&ledger.kv, "ana").expect("memory does not fail").expect("there");
    ledger.ok(Command::RemoveUser { name: "ana".to_owned() });
    ledger.ok(Command::PutUser(ana));
    assert!(matches!(may(&ledger, "ana", "run", true), Err(SendRefusal::NoRight { .. })));
    assert_eq!(may(&ledger, "ada", "run", true), Ok(()));
}
