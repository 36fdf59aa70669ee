//! The law of log segments, for any bytes.

use std::path::Path;

use dci_proto::AgentId;
use openraft::{EntryPayload, LeaderId};

use super::segment::{self, FrameWriter, HEADER_BYTES, decode_entry, entry_length};
use crate::types::{EncodedBatch, Entry, LogId};

/// Bytes looked at, at most: longer ones say nothing new.
const INPUT_LIMIT_BYTES: usize = 64 * 1024;

/// What is found in a segment lies within it; whoever allows a torn end finds no less than who does not; an entry that
/// decodes is, written again, the same.
pub(crate) fn segment(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(INPUT_LIMIT_BYTES)];
    let mended = segment::mend(bytes);
    for bytes in [bytes, &mended] {
        let path = Path::new("segment");
        let strict = segment::scan(path, bytes, false).ok().flatten();
        let lenient = segment::scan(path, bytes, true).ok().flatten();
        if let Some(strict) = strict {
            assert_eq!(strict.sound_bytes, bytes.len());
            assert!(lenient.as_ref().is_some_and(|lenient| lenient.offsets == strict.offsets));
        }
        let Some(found) = lenient else { continue };
        assert!(found.sound_bytes <= bytes.len() && found.offsets.is_sorted());
        let again = segment::scan(path, &bytes[..found.sound_bytes], false).ok().flatten();
        assert!(again.is_some_and(|again| again.offsets == found.offsets), "what is sound is sound alone");
        for offset in found.offsets {
            entry(&bytes[offset as usize..found.sound_bytes]);
        }
    }
}

#[allow(clippy::expect_used, reason = "an entry that was read can be written")]
fn entry(bytes: &[u8]) {
    let Ok(entry) = decode_entry(bytes) else { return };
    let mut frame = FrameWriter::new(0);
    frame.push(&entry).expect("encodes");
    let at = frame.offsets[0];
    let written = frame.finish().expect("is short");
    assert_eq!(decode_entry(&written[at..]), Ok(entry));
    let head = [0, 1, 2, 3, 4, 5, 6, 7].map(|byte| written[at + byte]);
    assert_eq!(at + entry_length(head), written.len());
}

/// The stored sample, and a segment of three frames, whole and torn.
#[allow(clippy::expect_used, reason = "samples of ours encode")]
pub(crate) fn segment_seeds() -> Vec<Vec<u8>> {
    let mut whole = segment::header(3).to_vec();
    for index in 3..6u64 {
        let payload = match index {
            3 => EntryPayload::Blank,
            _ => EntryPayload::Normal(EncodedBatch(vec![index as u8; 30].into())),
        };
        let mut frame = FrameWriter::new(index);
        frame.push(&Entry { log_id: LogId::new(LeaderId::new(1, AgentId([1; 32])), index), payload }).expect("encodes");
        whole.extend(frame.finish().expect("is short"));
    }
    let torn = whole[..whole.len() - 7].to_vec();
    vec![include_bytes!("samples/version-1.log").to_vec(), whole, torn, segment::header(0)[..HEADER_BYTES - 1].to_vec()]
}
