//! Messages kept in memory for a while, since most are needed again right after they were written.

use std::collections::BTreeMap;
use std::sync::Arc;

use dci_proto::message::Envelope;

use crate::Place;

/// Bytes of bodies that are kept.
const KEEP_BYTES: usize = 16 * 1024 * 1024;
/// Bytes a message counts besides its body.
const HEAD_BYTES: usize = 512;

/// The messages that came last.
#[derive(Debug, Default)]
pub(crate) struct Envelopes {
    kept: BTreeMap<Place, Arc<Envelope>>,
    bytes: usize,
}

impl Envelopes {
    pub(crate) fn keep(&mut self, place: Place, envelope: Arc<Envelope>) {
        self.bytes += size_bytes(&envelope);
        if let Some(before) = self.kept.insert(place, envelope) {
            self.bytes -= size_bytes(&before);
        }
        while self.bytes > KEEP_BYTES
            && let Some((_, oldest)) = self.kept.pop_first()
        {
            self.bytes -= size_bytes(&oldest);
        }
    }

    pub(crate) fn get(&self, place: Place) -> Option<Arc<Envelope>> {
        self.kept.get(&place).map(Arc::clone)
    }
}

/// Bytes a message takes, about.
pub(crate) fn size_bytes(envelope: &Envelope) -> usize {
    HEAD_BYTES + envelope.message.body.as_xml().len()
}
