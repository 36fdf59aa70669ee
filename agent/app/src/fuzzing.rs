//! Laws of what the agent takes from other agents and from people, for any bytes: run by the fuzz targets in `fuzz/`
//! and, mutated from their seeds, by every test run.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use dci_proto::{AgentId, PoolId, ShardHash, ShardKey, StripeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_ledger::AgentRoles;

use crate::copies::{Opener, Sealer};
use crate::ticket::Ticket;
use crate::{join, wire};

/// A name, the law, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets of this crate.
pub const TARGETS: &[Target] = &[
    ("agent_heads", heads, head_seeds),
    ("agent_tickets", tickets, ticket_seeds),
    ("agent_ledger_copies", ledger_copies, ledger_copy_seeds),
];

/// What decodes is, encoded, the same again.
fn comes_back<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(head) = wire::decode::<T>(bytes) else { return };
    let encoded = wire::encode(&head).ok();
    let again = encoded.as_ref().and_then(|bytes| wire::decode::<T>(bytes).ok());
    let same = again.and_then(|head| wire::encode(&head).ok());
    assert!(encoded.is_some() && same == encoded, "a head does not come back");
}

/// Heads of requests and answers, and the words of joining: the first byte says which.
fn heads(bytes: &[u8]) {
    let Some((kind, head)) = bytes.split_first() else { return };
    match kind % 10 {
        0 => comes_back::<wire::ShardPut>(head),
        1 => comes_back::<wire::ShardGet>(head),
        2 => comes_back::<wire::ShardDelete>(head),
        3 => comes_back::<wire::ShardNeed>(head),
        4 => comes_back::<wire::MemberList>(head),
        5 => comes_back::<wire::CopyPiece>(head),
        6 => comes_back::<shoal_ledger::AgentRecord>(head),
        7 => comes_back::<crate::health::SelfReport>(head),
        8 => comes_back::<join::words::Ask>(head),
        _ => comes_back::<join::words::Answer>(head),
    }
}

/// A ticket that is taken is written as one that is taken, and is the same.
fn tickets(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    // Else the checksum keeps almost everything out.
    sealed.extend_from_slice(&blake3::hash(bytes).as_bytes()[..4]);
    let made = format!("shoal1-{}", URL_SAFE_NO_PAD.encode(sealed));
    for text in [String::from_utf8_lossy(bytes).as_ref(), &made] {
        if let Ok(ticket) = text.parse::<Ticket>() {
            assert!(ticket.to_string().parse::<Ticket>().is_ok_and(|again| again == ticket), "{text}");
        }
    }
}

const POOL_KEY: [u8; 32] = [7; 32];
const POOL: PoolId = PoolId([1; 16]);

fn opened(copy: &[u8]) -> Option<Vec<u8>> {
    let mut opener = Opener::new(&POOL_KEY, POOL, copy).ok()?;
    let mut plain = Vec::new();
    while let Some(piece) = opener.next_piece().ok()? {
        plain.extend(piece);
    }
    Some(plain)
}

/// A copy of the ledger opens to what was sealed; one that was changed anywhere, or is anything else, does not open.
#[allow(clippy::expect_used, reason = "without a sealed copy there is nothing to try")]
fn ledger_copies(bytes: &[u8]) {
    assert_eq!(opened(bytes), None, "nobody but us can seal");
    let Some((change, plain)) = bytes.split_first_chunk::<3>() else { return };
    let mut sealer = Sealer::new(&POOL_KEY, POOL, 5).expect("seals");
    let mut copy = BytesMut::from(sealer.head());
    for part in plain.chunks(1 + usize::from(change[2]) * 8) {
        sealer.seal(part, &mut copy).expect("seals");
    }
    sealer.finish(&mut copy).expect("seals");
    assert_eq!(opened(&copy).as_deref(), Some(plain));
    let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % copy.len();
    assert_eq!(opened(&copy[..at]), None, "cut off at {at}");
    copy[at] ^= 1 << (change[2] % 8);
    // The position is told by the head, not used to open it; but it is authenticated with every frame.
    assert_eq!(opened(&copy), None, "changed at {at}");
}

fn member(number: u8) -> wire::Member {
    let control = vec![([127, 0, 0, 1], 4920).into()];
    wire::Member { id: AgentId([number; 32]), control, data: Vec::new(), roles: AgentRoles::default() }
}

fn head_seeds() -> Vec<Vec<u8>> {
    let key = ShardKey { stripe: StripeId([1; 16]), index: 2 };
    let welcome = join::words::Welcome {
        pool: POOL,
        pool_name: "home".to_owned(),
        roles: AgentRoles::default(),
        members: vec![member(2)],
        pool_key: Some([9; 32]),
    };
    let heads = [
        (0, wire::encode(&wire::ShardPut { key, hash: ShardHash([3; 16]) })),
        (1, wire::encode(&wire::ShardGet { key, range: Some((1, 9)) })),
        (2, wire::encode(&wire::ShardDelete { key, position: 700 })),
        (3, wire::encode(&wire::ShardNeed { needed: true })),
        (4, wire::encode(&wire::MemberList { pool_name: "home".to_owned(), members: vec![member(1), member(2)] })),
        (5, wire::encode(&wire::CopyPiece { copy: 1, offset: 2, complete: Some([4; 32]) })),
        (9, wire::encode(&join::words::Answer::Welcome(Box::new(welcome)))),
        (9, wire::encode(&join::words::Answer::Later("soon".to_owned()))),
    ];
    heads.into_iter().filter_map(|(kind, head)| Some([&[kind], &*head.ok()?].concat())).collect()
}

fn ticket_seeds() -> Vec<Vec<u8>> {
    let ticket = Ticket::sample();
    let mut seeds = vec![ticket.to_string().into_bytes()];
    seeds.extend(postcard::to_stdvec(&ticket).ok());
    seeds
}

fn ledger_copy_seeds() -> Vec<Vec<u8>> {
    vec![vec![70, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9], [&[0, 2, 0][..], &[5; 900]].concat(), vec![0, 0, 0]]
}
