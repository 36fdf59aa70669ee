//! Laws of messages, for any bytes: run by the fuzz targets in `fuzz/` and, mutated from their seeds, by every test run.

use crate::message::{Body, Receipt, decode, encode, signed_bytes};

/// A name, the law, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets of this crate.
pub const TARGETS: &[Target] = &[("dci_message", message, message_seeds)];

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

fn message_seeds() -> Vec<Vec<u8>> {
    [
        include_str!("../samples/unicast.xml"),
        include_str!("../samples/group-reply.xml"),
        include_str!("../samples/broadcast-receipt.xml"),
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
