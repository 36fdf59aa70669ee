//! Laws of messages and offers, for any bytes: run by the fuzz targets in `fuzz/` and, mutated from their seeds, by every test run.

use std::sync::Arc;

use crate::directory::{Offer, PeerletMode, PeerletOffer, SignedOffer, offer_message};
use crate::message::{
    Body, Envelope, MESSAGE_LIMIT_BYTES, NAMESPACE, Receipt, decode, decode_draft, encode, signed_bytes,
};
use crate::{AgentId, MessageId};

/// A name, the law, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets of this crate.
pub const TARGETS: &[Target] =
    &[("dci_message", message, message_seeds), ("dci_draft", draft, draft_seeds), ("dci_offer", offer, offer_seeds)];

/// What is read as a message is written as one that reads the same, and is signed the same.
fn message(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(body) = Body::of_xml(text.to_owned())
    {
        let _ = (body.text(), Receipt::of_body(&body));
        assert_eq!(Body::of_text(&body.text()).map(|again| again.text()), Ok(body.text()));
    }
    let Ok(envelope) = decode(bytes) else { return };
    // Written out it may be longer than it came.
    let Ok(written) = encode(&envelope) else { return };
    match decode(written.as_bytes()) {
        Ok(again) => {
            assert_eq!(again, envelope);
            assert_eq!(signed_bytes(&again.message), signed_bytes(&envelope.message));
        }
        Err(error) => panic!("{error}: {written}"),
    }
}

/// The body of a draft is the same wherever it is put.
fn draft(bytes: &[u8]) {
    let Ok(draft) = decode_draft(bytes) else { return };
    let body = draft.body.as_xml();
    let again = format!("<message xmlns=\"{NAMESPACE}\" type=\"x\"><to all=\"true\"/><body>{body}</body></message>");
    let again = decode_draft(again.as_bytes()).map(|again| again.body);
    assert!(
        again.as_ref() == Ok(&draft.body) || again.is_err() && body.len() > MESSAGE_LIMIT_BYTES - 1_024,
        "{again:?}"
    );
}

fn draft_seeds() -> Vec<Vec<u8>> {
    [include_str!("../samples/draft.xml"), include_str!("../samples/draft-prefixes.xml")]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

fn message_seeds() -> Vec<Vec<u8>> {
    [
        include_str!("../samples/unicast.xml"),
        include_str!("../samples/group-reply.xml"),
        include_str!("../samples/broadcast-receipt.xml"),
        include_str!("../samples/receipts.xml"),
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// What is read as an offer is written as one that reads the same; what carries one is an offer of its sender.
fn offer(bytes: &[u8]) {
    if let Ok(envelope) = decode(bytes)
        && let Ok(signed) = SignedOffer::of(Arc::new(envelope))
    {
        let offer = signed.offer();
        assert_eq!(Offer::of_body(&signed.envelope().message.body), Ok(offer.clone()));
        rewritten(&offer);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(body) = Body::of_xml(text.to_owned())
        && let Ok(offer) = Offer::of_body(&body)
    {
        rewritten(&offer);
    }
}

fn rewritten(offer: &Offer) {
    // Written out it may be longer than it came.
    if let Ok(body) = offer.to_body() {
        assert_eq!(Offer::of_body(&body).as_ref(), Ok(offer));
    }
    let made = Offer::new(offer.agent_version(), offer.peerlets().iter().cloned());
    let body = made.to_body().unwrap_or_default();
    assert_eq!(Offer::of_body(&body), Ok(made));
}

fn offer_seeds() -> Vec<Vec<u8>> {
    let peerlet = |kind: &str, description: &str| {
        let (version, mode) = ("1.2.3-rc.1".to_owned(), PeerletMode::Session);
        let kind = kind.parse().ok()?;
        Some(PeerletOffer { kind, version, mode, description: description.to_owned(), executes: true })
    };
    let few = [peerlet("chat", "Rooms & \"more\""), peerlet("run", "Führt <aus>")];
    let many = (0..200).map(|one| peerlet(&format!("kind-{one}"), "what it does"));
    let offers =
        [Offer::default(), Offer::new("0.1.0", few.into_iter().flatten()), Offer::new("0.1.0", many.flatten())];
    let bodies = offers.iter().filter_map(|offer| offer.to_body().ok()).map(|body| body.as_xml().as_bytes().to_vec());
    let messages = offers.iter().filter_map(|offer| {
        let message = offer_message(MessageId([1; 16]), AgentId([2; 32]), 1_769_860_800_000, offer).ok()?;
        encode(&Envelope { message, ttl: 0, signature: [3; 64] }).ok().map(String::into_bytes)
    });
    bodies.chain(messages).collect()
}
