//! Messages as other implementations see them: the samples of every version, and what is refused.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

use dci_proto::message::{
    Body, Envelope, LIFE_LIMIT_MS, MESSAGE_LIMIT_BYTES, Message, MessageError, Receipt, ReceiptState, Recipient,
    Sender, decode, encode, signed_bytes,
};
use dci_proto::{AgentId, MessageId, SessionId};
use ed25519_dalek::{Signer, SigningKey, Verifier, VerifyingKey};
use proptest::prelude::*;

const SENT_MS: u64 = 1_769_860_800_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn agent(seed: u8) -> AgentId {
    AgentId(key(seed).verifying_key().to_bytes())
}

fn signed(message: Message, ttl: u8, seed: u8) -> Envelope {
    let signature = key(seed).sign(&signed_bytes(&message)).to_bytes();
    Envelope { message, ttl, signature }
}

fn is_right(envelope: &Envelope) -> bool {
    let key = VerifyingKey::from_bytes(&envelope.message.from.agent.0).expect("a key");
    let signature = ed25519_dalek::Signature::from_bytes(&envelope.signature);
    key.verify(&signed_bytes(&envelope.message), &signature).is_ok()
}

fn unicast() -> Message {
    Message {
        id: MessageId([0x11; 16]),
        kind: "chat".parse().unwrap(),
        session: Some(SessionId([0x22; 16])),
        sent_ms: SENT_MS,
        expires_ms: SENT_MS + 600_000,
        from: Sender {
            agent: agent(1),
            user: Some("Ana María".parse().unwrap()),
            session: Some(SessionId([0x33; 16])),
        },
        to: Recipient::Agent(agent(2)),
        in_reply_to: None,
        replay_of: None,
        body: Body::of_text("Tea & biscuits at 4 <in the lab>?").unwrap(),
    }
}

fn group_reply() -> Message {
    let xml =
        "<count xmlns=\"urn:example:count\" words='7'>\n  <!-- of the whole -->\n  <line n=\"1\">é</line>\n</count>";
    Message {
        id: MessageId([0x44; 16]),
        kind: "org.example.count".parse().unwrap(),
        session: None,
        from: Sender { agent: agent(2), user: None, session: None },
        to: Recipient::Group("lab".parse().unwrap()),
        in_reply_to: Some(MessageId([0x11; 16])),
        replay_of: Some(MessageId([0x55; 16])),
        body: Body::of_xml(xml.into()).unwrap(),
        ..unicast()
    }
}

fn broadcast_receipt() -> Message {
    let state = ReceiptState::Expired { hop: agent(3), reason: "no hops left".into() };
    Message {
        id: MessageId([0x66; 16]),
        kind: "shoal.receipt".parse().unwrap(),
        session: None,
        from: Sender { agent: agent(3), user: None, session: None },
        to: Recipient::All,
        body: Receipt::to_body(&[Receipt { of: MessageId([0x11; 16]), state }]).unwrap(),
        ..unicast()
    }
}

/// What one agent tells another of several of its messages at once.
fn several_receipts() -> Message {
    let states = [ReceiptState::Delivered, ReceiptState::Handled { exit_status: 0 }];
    let of = [MessageId([0x11; 16]), MessageId([0x77; 16])];
    let receipts: Vec<Receipt> = of.into_iter().zip(states).map(|(of, state)| Receipt { of, state }).collect();
    Message {
        id: MessageId([0x88; 16]),
        kind: "shoal.receipt".parse().unwrap(),
        session: None,
        from: Sender { agent: agent(2), user: None, session: None },
        to: Recipient::Agent(agent(1)),
        body: Receipt::to_body(&receipts).unwrap(),
        ..unicast()
    }
}

#[test]
fn the_samples_of_version_1_read_as_what_they_say_and_are_signed_right() {
    for (sample, message, ttl, seed) in [
        (include_str!("../samples/unicast.xml"), unicast(), 9, 1),
        (include_str!("../samples/group-reply.xml"), group_reply(), 0, 2),
        (include_str!("../samples/broadcast-receipt.xml"), broadcast_receipt(), 3, 3),
        (include_str!("../samples/receipts.xml"), several_receipts(), 9, 2),
    ] {
        let expected = signed(message, ttl, seed);
        let read = decode(sample.trim_end().as_bytes());
        assert_eq!(read.as_ref(), Ok(&expected), "as written now: {}", encode(&expected).unwrap());
        assert!(is_right(&expected));
        assert_eq!(encode(&expected).as_deref(), Ok(sample.trim_end()), "written as it always was");
    }
}

#[test]
fn what_is_signed_is_as_the_protocol_says() {
    let expected = include_str!("../samples/unicast.signed.txt");
    assert_eq!(String::from_utf8(signed_bytes(&unicast())).unwrap(), expected);
}

#[test]
fn other_ways_to_write_the_same_are_taken() {
    let written = encode(&signed(unicast(), 9, 1)).unwrap();
    let other = written
        .replace("><from", ">\r\n  <!-- from --><from")
        .replace(" ttl=\"9\"", "\n ttl='200'")
        .replace("type=\"chat\"", "type=\"&#99;hat\"");
    let other = format!("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n{other}\n");
    let read = decode(other.as_bytes()).expect("reads");
    assert_eq!(read, signed(unicast(), 9, 1), "a TTL over 9 is 9");
    assert!(is_right(&read));
}

#[test]
fn an_altered_message_is_signed_wrong() {
    let envelope = signed(unicast(), 9, 1);
    let changes: [fn(&mut Message); 6] = [
        |message| message.id = MessageId([0; 16]),
        |message| message.expires_ms += 1,
        |message| message.from.user = Some("root".parse().unwrap()),
        |message| message.to = Recipient::All,
        |message| message.session = None,
        |message| message.body = Body::of_text("Tea").unwrap(),
    ];
    for change in changes {
        let mut altered = envelope.clone();
        change(&mut altered.message);
        assert!(!is_right(&altered), "{altered:?}");
    }
    let relayed = Envelope { ttl: 3, ..envelope };
    assert!(is_right(&relayed), "a hop lowers the TTL");
}

#[test]
fn what_the_schema_does_not_name_is_refused() {
    let good = encode(&signed(unicast(), 9, 1)).unwrap();
    assert!(decode(good.as_bytes()).is_ok());
    let agent = agent(1).to_string();
    for (from, to) in [
        ("urn:shoal:dci:1", "urn:shoal:dci:2"),
        ("<message xmlns=\"urn:shoal:dci:1\"", "<message"),
        ("<message ", "<message xmlns:x=\"urn:x\" "),
        ("<body>", "<body xmlns:x=\"urn:x\">"),
        ("<body>", "<body xmlns=\"\">"),
        ("<body>", "<body lang=\"en\">"),
        ("<body>", "<extra/><body>"),
        ("<body>", "text<body>"),
        ("<body>", "<body/><body>"),
        ("<body>", "<body>\r\n"),
        (" type=\"chat\"", ""),
        (" type=\"chat\"", " type=\"../chat\""),
        (" ttl=\"9\"", " ttl=\"-1\""),
        (" ttl=\"9\"", ""),
        (" ttl=\"9\"", " ttl=\"9\" priority=\"1\""),
        ("2026-01-31T12:10:00.000Z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31T12:10:00.000Z", "2027-01-31T12:00:00.000Z"),
        ("<to agent", "<to all=\"true\" agent"),
        ("<to agent", "<to group"),
        ("<signature key=\"12D3", "<signature key=\"12D4"),
        ("</signature>", "AA</signature>"),
        ("</message>", "</message><message/>"),
        (agent.as_str(), "12D3KooW"),
        ("<from ", "<!DOCTYPE x [<!ENTITY e 'boom'>]><from "),
        ("<from ", "<from xml:lang=\"en\" "),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert!(decode(bad.as_bytes()).is_err(), "{from} → {to}: {bad}");
    }
}

#[test]
fn sizes_and_lives_are_bounded() {
    let body = Body::of_text(&"a".repeat(MESSAGE_LIMIT_BYTES - 100)).unwrap();
    let large = signed(Message { body, ..unicast() }, 9, 1);
    assert!(matches!(encode(&large), Err(MessageError::TooLarge(_))));
    assert!(matches!(decode(&vec![b' '; MESSAGE_LIMIT_BYTES + 1]), Err(MessageError::TooLarge(_))));
    for expires_ms in [0, SENT_MS, SENT_MS + LIFE_LIMIT_MS + 1, u64::MAX] {
        let message = Message { expires_ms, ..unicast() };
        assert_eq!(encode(&signed(message, 9, 1)), Err(MessageError::Life), "{expires_ms}");
    }
    let message = Message { sent_ms: u64::MAX - 5, expires_ms: u64::MAX, ..unicast() };
    assert_eq!(encode(&signed(message, 9, 1)), Err(MessageError::Life), "later than times can say");
}

fn messages() -> impl Strategy<Value = Message> {
    let uuid = any::<[u8; 16]>();
    let user = "[a-zA-Z é&<>\"'李]{0,12}".prop_map(|text| text.trim().parse().ok());
    let to = prop_oneof![
        any::<[u8; 32]>().prop_map(|key| Recipient::Agent(AgentId(key))),
        "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|name| Recipient::Group(name.parse().unwrap())),
        Just(Recipient::All),
    ];
    let ids = (uuid, proptest::option::of(uuid), proptest::option::of(uuid), proptest::option::of(uuid));
    let times = (0..253_402_000_000_000_u64, 1..=LIFE_LIMIT_MS)
        .prop_filter("ends in time", |(sent, life)| sent + life < 253_402_300_799_999);
    ("[a-z0-9][a-z0-9._-]{0,63}", ids, times, any::<[u8; 32]>(), user, to, any::<String>()).prop_map(
        |(kind, (id, session, in_reply_to, replay_of), (sent_ms, life_ms), key, user, to, text)| Message {
            id: MessageId(id),
            kind: kind.parse().unwrap(),
            session: session.map(SessionId),
            sent_ms,
            expires_ms: sent_ms + life_ms,
            from: Sender { agent: AgentId(key), user, session: session.map(SessionId) },
            to,
            in_reply_to: in_reply_to.map(MessageId),
            replay_of: replay_of.map(MessageId),
            body: Body::of_text(&text).unwrap(),
        },
    )
}

proptest! {
    #[test]
    fn every_message_is_read_as_it_was_written(message in messages(), ttl in 0_u8..=9, signature in any::<[u8; 32]>()) {
        let mut both = [0; 64];
        both[..32].copy_from_slice(&signature);
        let envelope = Envelope { message, ttl, signature: both };
        let written = encode(&envelope).unwrap();
        prop_assert_eq!(decode(written.as_bytes()), Ok(envelope.clone()));
        let stored = postcard::to_stdvec(&envelope).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Envelope>(&stored), Ok(envelope));
    }
}
