//! The pool, its members, tickets, and users.

use dci_proto::AgentId;
use shoal_ledger::{
    AgentRecord, AgentRoles, AgentState, Command, Outcome, Rejection, TicketRecord, UserRecord, UserRole, limits, query,
};

use crate::harness::{Ledger, START_MS, agent, chunked, create_pool, fresh};

const SECRET: [u8; 32] = [5; 32];

fn member(outcome: Outcome) -> AgentRecord {
    match outcome {
        Outcome::Agent(record) => record,
        other => panic!("no member: {other:?}"),
    }
}

fn ticket(roles: AgentRoles, expires_ms: u64) -> Command {
    let issued_by = "ana".to_owned();
    Command::CreateTicket(TicketRecord { secret_hash: SECRET, expires_ms, roles, issued_by })
}

fn redeem(number: u8) -> Command {
    Command::RedeemTicket { secret_hash: SECRET, agent: agent(number) }
}

/// A pool of agent 1, and agent 2 let in.
fn two() -> Ledger {
    let mut ledger = Ledger::alone();
    ledger.ok(Command::RequestJoin { agent: agent(2) });
    ledger.ok(Command::ApproveJoin { agent: AgentId([2; 32]) });
    ledger
}

#[test]
fn a_pool_is_made_once_and_before_anything_else() {
    let mut ledger = Ledger::empty();
    assert!(matches!(ledger.refused(Command::Tick), Rejection::Pool(_)));
    assert_eq!(query::pool(&ledger.kv).expect("memory"), None);
    let first = member(ledger.ok(create_pool(agent(1))));
    assert_eq!((first.joined_ms, first.name.as_str()), (START_MS, "pc"));
    assert!(matches!(ledger.refused(create_pool(agent(2))), Rejection::Pool(_)));
    let pool = query::pool(&ledger.kv).expect("memory").expect("made");
    assert_eq!((pool.survive, pool.format, pool.created_ms), (2, shoal_ledger::FORMAT_VERSION, START_MS));
    ledger.ok(Command::SetSurvive { survive: 1 });
    assert_eq!(query::pool(&ledger.kv).expect("memory").expect("made").survive, 1);
    assert!(matches!(ledger.refused(Command::SetSurvive { survive: 17 }), Rejection::Invalid(_)));
}

#[test]
fn a_ticket_serves_once_and_cuts_the_roles() {
    let mut ledger = Ledger::alone();
    let roles = AgentRoles { store: true, mount: false, vote: false };
    ledger.ok(ticket(roles, START_MS + 10));
    let joined = member(ledger.ok(redeem(2)));
    assert_eq!((joined.name.as_str(), joined.roles), ("pc-2", roles));
    assert_eq!(ledger.refused(redeem(3)), Rejection::BadTicket);
    assert_eq!(query::tickets(&ledger.kv).expect("memory"), []);
}

#[test]
fn a_ticket_expires() {
    let mut ledger = Ledger::alone();
    ledger.ok(ticket(AgentRoles::default(), START_MS + 10));
    ledger.time_ms += 10;
    assert_eq!(ledger.refused(redeem(2)), Rejection::BadTicket);
    ledger.ok(Command::Tick);
    assert_eq!(query::tickets(&ledger.kv).expect("memory"), []);
}

#[test]
fn who_joins_again_keeps_its_place_and_gets_its_addresses_renewed() {
    let mut ledger = two();
    ledger.ok(Command::RenameAgent { agent: AgentId([2; 32]), name: "attic".to_owned() });
    ledger.ok(ticket(AgentRoles { store: false, mount: false, vote: false }, START_MS + 10));
    let mut again = agent(2);
    again.control_addresses = vec!["10.0.0.9:1".parse().expect("an address")];
    let record = member(ledger.ok(Command::RedeemTicket { secret_hash: SECRET, agent: again.clone() }));
    assert_eq!((record.name.as_str(), record.roles), ("attic", AgentRoles::default()));
    assert_eq!(record.control_addresses, again.control_addresses);
}

#[test]
fn who_asks_waits_for_an_admin() {
    let mut ledger = Ledger::alone();
    ledger.ok(Command::RequestJoin { agent: agent(2) });
    ledger.ok(Command::RequestJoin { agent: agent(2) });
    ledger.ok(Command::RequestJoin { agent: agent(3) });
    assert_eq!(query::join_requests(&ledger.kv).expect("memory").len(), 2);
    ledger.ok(Command::ApproveJoin { agent: AgentId([2; 32]) });
    ledger.ok(Command::RejectJoin { agent: AgentId([3; 32]) });
    for command in [Command::ApproveJoin { agent: AgentId([3; 32]) }, Command::RejectJoin { agent: AgentId([2; 32]) }] {
        assert!(matches!(ledger.refused(command), Rejection::NotFound(_)));
    }
    assert!(matches!(ledger.refused(Command::RequestJoin { agent: agent(2) }), Rejection::Exists(_)));
    assert_eq!(query::agents(&ledger.kv).expect("memory").len(), 2);
}

#[test]
fn requests_to_join_are_bounded_in_number_and_time() {
    let mut ledger = Ledger::alone();
    for number in 0..limits::JOIN_REQUESTS_LIMIT {
        let mut asking = agent(0);
        asking.id.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
        ledger.ok(Command::RequestJoin { agent: asking });
    }
    assert!(matches!(ledger.refused(Command::RequestJoin { agent: agent(2) }), Rejection::TooMany(_)));
    ledger.time_ms += limits::JOIN_REQUEST_KEPT_MS;
    ledger.ok(Command::Tick);
    ledger.ok(Command::RequestJoin { agent: agent(2) });
    assert_eq!(query::join_requests(&ledger.kv).expect("memory").len(), 1);
}

#[test]
fn what_a_member_says_of_itself_leaves_its_name_and_standing_alone() {
    let mut ledger = two();
    let id = AgentId([2; 32]);
    ledger.ok(Command::SetAgentState { agent: id, state: AgentState::Draining });
    let said = AgentRecord { capacity_bytes: 77, version: "0.2.0".to_owned(), site: "x".to_owned(), ..agent(2) };
    let record = member(ledger.ok(Command::UpdateAgent { agent: said }));
    assert_eq!((record.capacity_bytes, record.version.as_str()), (77, "0.2.0"));
    assert_eq!((record.name.as_str(), record.state, record.site.as_str()), ("pc-2", AgentState::Draining, ""));
    assert!(matches!(ledger.refused(Command::UpdateAgent { agent: agent(9) }), Rejection::UnknownAgent(_)));
}

#[test]
fn names_of_members_are_unique_however_they_are_typed() {
    let mut ledger = two();
    let rename = |name: &str| Command::RenameAgent { agent: AgentId([2; 32]), name: name.to_owned() };
    assert_eq!(ledger.refused(rename("PC")), Rejection::Exists("PC".to_owned()));
    ledger.ok(rename("PC-2"));
    for name in ["", " pc", "a\nb", &"n".repeat(129)] {
        assert!(matches!(ledger.refused(rename(name)), Rejection::Invalid(_)), "{name:?}");
    }
    let unknown = Command::RenameAgent { agent: AgentId([9; 32]), name: "x".to_owned() };
    assert!(matches!(ledger.refused(unknown), Rejection::UnknownAgent(_)));
}

#[test]
fn a_member_that_stripes_count_on_is_struck_off_by_force_only() {
    let mut ledger = two();
    ledger.ok(chunked("/f", vec![fresh(1, 1, 10)]));
    let strike = |number: u8, force| Command::RemoveAgent { agent: AgentId([number; 32]), force };
    assert_eq!(ledger.refused(strike(2, false)), Rejection::StillNeeded { agent: "pc-2".to_owned(), stripes: 1 });
    ledger.ok(strike(2, true));
    assert_eq!(query::agent(&ledger.kv, AgentId([2; 32])).expect("memory"), None);
    assert!(matches!(ledger.refused(strike(2, true)), Rejection::UnknownAgent(_)));
    assert!(matches!(ledger.refused(strike(1, true)), Rejection::Invalid(_)), "the last member stays");
}

#[test]
fn striking_a_member_off_gives_its_uploads_up() {
    let mut ledger = two();
    let id = AgentId([2; 32]);
    let Outcome::Upload(upload) = ledger.ok(Command::BeginUpload { agent: id, run: 1 }) else { panic!("no upload") };
    ledger.ok(Command::RemoveAgent { agent: id, force: true });
    let stage = Command::StageChunks { upload, first_index: 0, chunks: Vec::new() };
    assert!(matches!(ledger.refused(stage), Rejection::Inconsistent(_)));
    let begin = Command::BeginUpload { agent: id, run: 1 };
    assert!(matches!(ledger.refused(begin), Rejection::UnknownAgent(_)));
}

fn user(name: &str, role: UserRole) -> Command {
    let password_hash = "$argon2id$".to_owned();
    Command::PutUser(UserRecord { name: name.to_owned(), password_hash, role, created_ms: 0 })
}

fn drop_user(name: &str) -> Command {
    Command::RemoveUser { name: name.to_owned() }
}

#[test]
fn the_last_admin_stays_and_stays_admin() {
    let mut ledger = Ledger::alone();
    ledger.ok(user("ana", UserRole::Admin));
    ledger.ok(user("ben", UserRole::User));
    for command in [drop_user("ana"), user("ana", UserRole::Operator)] {
        assert_eq!(ledger.refused(command), Rejection::LastAdmin);
    }
    ledger.time_ms += 5;
    ledger.ok(user("ben", UserRole::Admin));
    let ben = query::user(&ledger.kv, "ben").expect("memory").expect("there");
    assert_eq!((ben.role, ben.created_ms), (UserRole::Admin, START_MS));
    ledger.ok(drop_user("ana"));
    assert!(matches!(ledger.refused(drop_user("ana")), Rejection::NotFound(_)));
    assert_eq!(query::users(&ledger.kv).expect("memory"), [ben]);
}

#[test]
fn names_of_users_can_be_typed_and_sent_by_basic_authentication() {
    let mut ledger = Ledger::alone();
    for name in ["", "a:b", " a", "a\u{7}", &"n".repeat(129)] {
        assert!(matches!(ledger.refused(user(name, UserRole::User)), Rejection::Invalid(_)), "{name:?}");
    }
    ledger.ok(user("Jose\u{301}", UserRole::User));
    assert!(query::user(&ledger.kv, "Jos\u{e9}").expect("memory").is_some());
}
