//! Laws of what comes over the data channel, for any bytes: run by the fuzz targets in `fuzz/` and, mutated from their
//! seeds, by every test run.

use bytes::Bytes;

use crate::frame::{HEADER_BYTES, Header, Kind, body_limit_bytes};
use crate::wire::{read_header, read_payload};
use crate::{HEAD_LIMIT_BYTES, Lane};

/// A name, the law, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets of this crate.
pub const TARGETS: &[Target] = &[("net_frames", frames, frame_seeds)];

/// A stream of frames: what is read is within the limits, and written again gives the bytes that were read.
#[allow(clippy::expect_used, reason = "without a runtime there is nothing to try")]
fn frames(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut reader = bytes;
        let mut written = Vec::new();
        while let Ok(header) = read_header(&mut reader).await {
            assert!(header.head_bytes <= HEAD_LIMIT_BYTES && header.body_bytes <= body_limit_bytes(header.lane));
            assert_eq!(Header::decode(&header.encode()), Ok(header));
            let Ok(payload) = read_payload(&mut reader, &header).await else { return };
            assert_eq!((payload.head.len(), payload.body.len()), (header.head_bytes, header.body_bytes));
            written.extend_from_slice(&header.encode());
            written.extend_from_slice(&payload.head);
            written.extend_from_slice(&payload.body);
            assert_eq!(written, bytes[..written.len()]);
        }
    });
}

fn frame(kind: Kind, lane: Lane, head: &[u8], body: &[u8]) -> Vec<u8> {
    let (head, body) = (Bytes::copy_from_slice(head), Bytes::copy_from_slice(body));
    let header = Header { kind, lane, code: 3, id: 5, head_bytes: head.len(), body_bytes: body.len() };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + head.len() + body.len());
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&body);
    bytes
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let request = frame(Kind::Request, Lane::Foreground, b"\x01head", &[9; 300]);
    let response = frame(Kind::Response, Lane::Background, b"", b"body");
    let refusal = frame(Kind::Refusal, Lane::Control, b"why", b"");
    let probe = [frame(Kind::Probe, Lane::Control, b"", b""), frame(Kind::Alive, Lane::Control, b"", b"")].concat();
    vec![[request.clone(), probe, response].concat(), refusal, request]
}
