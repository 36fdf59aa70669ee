//! What is stored stays readable: a sample of version 1, and a clear word on anything newer.

use bytes::Bytes;
use dci_proto::{AgentId, VolumeId};
use shoal_ledger::{
    AgentRoles, CHUNK_BYTES, Command, KvError, KvRead, KvWrite, LockScope, MemoryKv, NodeKind, PropertyName,
    PropertyPatch, TicketRecord, UserRecord, UserRole, VolumePolicy, query, validate,
};

use crate::harness::{
    Ledger, agent, ana, batch, chunked, copy, create_pool, file, folder, fresh, full, known, lock, path, remove,
};

/// Every row of a ledger that has one in every table, as version 1 wrote them: key and value, in hexadecimal.
const SAMPLE_V1: &str = include_str!("../samples/ledger-v1.hex");

/// Commands that leave a row in every table.
fn script() -> Vec<Command> {
    let name = PropertyName { namespace: "urn:x".to_owned(), name: "colour".to_owned() };
    let patches = vec![PropertyPatch::Set(name, Bytes::from_static(b"<colour/>"))];
    let ticket = TicketRecord {
        secret_hash: [5; 32],
        expires_ms: 9_000_000,
        roles: AgentRoles { store: true, mount: false, vote: false },
        issued_by: "ana".to_owned(),
    };
    let user = UserRecord {
        name: "ana".to_owned(),
        password_hash: "$argon2id$".to_owned(),
        role: UserRole::Admin,
        created_ms: 0,
    };
    vec![
        create_pool(agent(1)),
        Command::CreateVolume { name: "pool".to_owned(), policy: VolumePolicy { survive: Some(1), compress: true } },
        Command::CreateTicket(ticket),
        Command::RequestJoin { agent: agent(2) },
        Command::RequestJoin { agent: agent(3) },
        Command::ApproveJoin { agent: AgentId([3; 32]) },
        Command::PutUser(user),
        folder("/caf\u{e9}"),
        file("/caf\u{e9}/inline", "bytes"),
        chunked("/chunked", vec![full(1, 1), fresh(2, 2, 10)]),
        copy("/chunked", "/copied", false, false),
        chunked("/gone", vec![fresh(3, 3, 10)]),
        remove("/gone", ana()),
        Command::PatchProperties { path: path("/chunked"), guard: ana(), patches },
        lock("urn:uuid:1", "/chunked", false, LockScope::Exclusive, ana()),
        Command::BeginUpload { agent: AgentId([1; 32]), run: 7 },
        folder("/none/refused"),
        Command::PurgeTrash { volume: VolumeId(1), ids: vec![1] },
        file("/caf\u{e9}/inline", "other bytes"),
    ]
}

fn dump(kv: &MemoryKv) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    kv.rows().map(|(key, value)| format!("{} {}\n", hex(key), hex(value))).collect()
}

fn load(dump: &str) -> MemoryKv {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hexadecimal");
    let bytes = |hex: &str| hex.as_bytes().chunks(2).map(byte).collect::<Vec<u8>>();
    let mut kv = MemoryKv::default();
    for (key, value) in dump.lines().map(|line| line.split_once(' ').expect("a key and a value")) {
        kv.put(&bytes(key), &bytes(value)).expect("memory does not fail");
    }
    kv
}

#[test]
fn what_version_1_wrote_is_read() {
    let mut ledger = Ledger { kv: load(SAMPLE_V1), ..Ledger::new() };
    query::check_format(&ledger.kv).expect("readable");
    validate(&ledger.kv).expect("whole");
    assert_eq!(query::pool(&ledger.kv).expect("readable").expect("there").name, "home");
    assert_eq!(query::agents(&ledger.kv).expect("readable")[0].control_addresses, agent(1).control_addresses);
    assert_eq!(query::tickets(&ledger.kv).expect("readable")[0].issued_by, "ana");
    assert_eq!(query::join_requests(&ledger.kv).expect("readable")[0].agent, agent(2));
    assert_eq!(query::user(&ledger.kv, "ana").expect("readable").expect("there").role, UserRole::Admin);
    assert_eq!(query::volumes(&ledger.kv).expect("readable")[0].policy.survive, Some(1));
    assert_eq!(ledger.list("/"), ["caf\u{e9}", "chunked", "copied"]);
    assert_eq!((ledger.must("/caf\u{e9}").kind, ledger.must("/copied").size_bytes), (NodeKind::Folder, 4_194_314));
    assert_eq!(query::locks_below(&ledger.kv, &path("/")).expect("readable")[0].token, "urn:uuid:1");
    assert_eq!(query::garbage(&ledger.kv, 9).expect("readable").len(), 1);
    let trash = ledger.trash();
    assert_eq!((trash[0].path.to_string(), trash[0].node.size_bytes), ("/caf\u{e9}/inline".to_owned(), 5));
    let node = ledger.must("/chunked").inode;
    assert_eq!(query::properties(&ledger.kv, node).expect("readable")[0].name.name, "colour");
    ledger.position = 1_000;
    ledger.ok(chunked("/again", vec![known(1, CHUNK_BYTES), known(2, 10)]));
}

#[test]
fn the_same_commands_still_write_what_version_1_wrote() {
    let mut ledger = Ledger::empty();
    for command in script() {
        let _ = ledger.answer(command);
    }
    let now = dump(&ledger.kv);
    let tables: std::collections::BTreeSet<u8> = ledger.kv.rows().map(|(key, _)| key[0]).collect();
    assert_eq!(tables.len(), 26, "a row in every table: {tables:02x?}");
    for (now, then) in now.lines().zip(SAMPLE_V1.lines()) {
        assert_eq!(now, then, "the form of rows has changed: count up the version and migrate");
    }
    assert_eq!(now.len(), SAMPLE_V1.len(), "rows have come or gone; now they are\n{now}");
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_untouched() {
    let mut ledger = Ledger::new();
    let mut meta = ledger.kv.get(&[0]).expect("memory does not fail").expect("there");
    meta[0] = 2;
    ledger.kv.put(&[0], &meta).expect("memory does not fail");
    let before = ledger.kv.clone();
    let refused = query::check_format(&ledger.kv).expect_err("newer");
    assert!(matches!(refused, KvError::Newer { found: 2, known: 1 }), "{refused}");
    let said = "this ledger was written by a newer version of Shoal (format 2; this one reads up to 1): update Shoal on \
                this computer";
    assert_eq!(refused.to_string(), said);
    let refused = shoal_ledger::apply(&mut ledger.kv, 9, &batch(9, 9, Command::Tick)).expect_err("newer");
    assert!(matches!(refused, KvError::Newer { .. }), "{refused}");
    assert_eq!(ledger.kv, before);
}

#[test]
fn a_damaged_row_is_an_error_that_names_its_table() {
    let mut ledger = Ledger::new();
    for damage in [&[][..], &[0, 1], &[1], &[1, 255, 255]] {
        let key = [&[0x11][..], &1_u64.to_be_bytes(), b"bad"].concat();
        ledger.kv.put(&key, damage).expect("memory does not fail");
        let error = query::node(&ledger.kv, &path("/bad")).expect_err("damaged");
        assert!(matches!(error, KvError::Corrupt { table: "files and folders", .. }), "{error}");
    }
}
