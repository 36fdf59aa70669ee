//! The whole state as a stream of pieces: what goes to newcomers, and what copies of the ledger are made of.
//!
//! ```text
//! dump  = piece*      head piece = "SHOALDMP" version:u32 position:u64
//!                     row piece  = row+       row = key_bytes:u32 value_bytes:u32 key value
//!                     last piece = "SHOALEND" rows:u64 crc32c(all row pieces):u32
//! ```

use std::sync::Arc;

use bytes::Bytes;
use shoal_ledger::KvError;

use super::incoming::IncomingState;
use super::view::StateView;
use crate::ConsensusError;

/// Bytes at which a piece is closed. One row more may go over it.
pub(crate) const PIECE_BYTES: usize = 1024 * 1024;

pub(super) const HEAD_MAGIC: &[u8; 8] = b"SHOALDMP";
pub(super) const END_MAGIC: &[u8; 8] = b"SHOALEND";
/// Version of the format above.
pub(super) const DUMP_VERSION: u32 = 1;

/// Rows one after the other.
#[derive(Default)]
pub(crate) struct PieceWriter {
    bytes: Vec<u8>,
    rows: u64,
    last_key: Option<Vec<u8>>,
}

impl PieceWriter {
    /// The rows so far.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.rows += 1;
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
    }

    pub(super) fn length_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// The rows of a piece; `None` where it is cut off.
pub(crate) fn read_rows(mut piece: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    std::iter::from_fn(move || {
        if piece.is_empty() {
            return None;
        }
        let row = read_row(piece);
        piece = row.map_or(&[], |(_, _, rest)| rest);
        Some(row.map(|(key, value, _)| (key, value)))
    })
}

fn read_row(piece: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_bytes, rest) = piece.split_first_chunk::<4>()?;
    let (value_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_bytes) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_bytes) as usize)?;
    Some((key, value, rest))
}

/// Bytes of the whole rows at the beginning.
fn whole_rows_bytes(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((_, _, after)) = read_row(rest) {
        rest = after;
    }
    bytes.len() - rest.len()
}

/// Reads a view's rows piece by piece.
pub(crate) struct RowPieces {
    view: Arc<StateView>,
    after: Option<Vec<u8>>,
    finished: bool,
    rows: u64,
}

impl RowPieces {
    pub(crate) fn new(view: Arc<StateView>) -> Self {
        Self { view, after: None, finished: false, rows: 0 }
    }

    /// The next piece; `None` after the last. Blocking.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Vec<u8>>, KvError> {
        if self.finished {
            return Ok(None);
        }
        let mut piece = PieceWriter::default();
        self.finished = !self.view.copy_rows(self.after.as_deref(), PIECE_BYTES, &mut piece)?;
        self.rows += piece.rows;
        self.after = piece.last_key.or(self.after.take());
        Ok((!piece.bytes.is_empty()).then_some(piece.bytes))
    }

    /// Rows read so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }
}

/// The whole state at one moment, as pieces of about 1 MiB. Holds no more than one piece in memory; the state goes
/// on changing meanwhile without the dump changing. Write the pieces with their lengths kept, and hand them to
/// [`crate::Consensus::restore`] in the same order.
pub struct StateDump {
    position: u64,
    rows: RowPieces,
    checksum: u32,
    stage: Stage,
}

enum Stage {
    Head,
    Rows,
    Done,
}

impl StateDump {
    pub(crate) fn new(view: Arc<StateView>) -> Self {
        let position = view.applied.map_or(0, |id| id.index);
        Self { position, rows: RowPieces::new(view), checksum: 0, stage: Stage::Head }
    }

    /// The position in the log whose state this is.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next piece; `None` after the last. Reads the disk: call it where blocking is fine.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, KvError> {
        match self.stage {
            Stage::Head => {
                self.stage = Stage::Rows;
                let mut head = HEAD_MAGIC.to_vec();
                head.extend_from_slice(&DUMP_VERSION.to_le_bytes());
                head.extend_from_slice(&self.position.to_le_bytes());
                Ok(Some(head.into()))
            }
            Stage::Rows => {
                if let Some(piece) = self.rows.next_piece()? {
                    self.checksum = crc32c::crc32c_append(self.checksum, &piece);
                    return Ok(Some(piece.into()));
                }
                self.stage = Stage::Done;
                let mut end = END_MAGIC.to_vec();
                end.extend_from_slice(&self.rows.rows().to_le_bytes());
                end.extend_from_slice(&self.checksum.to_le_bytes());
                Ok(Some(end.into()))
            }
            Stage::Done => Ok(None),
        }
    }
}

/// Reads a dump back into a state that is being received.
pub(crate) struct DumpReader {
    position: Option<u64>,
    checksum: u32,
    complete: bool,
    /// Bytes of a row whose end has not come yet.
    begun: Vec<u8>,
}

impl DumpReader {
    pub(crate) fn new() -> Self {
        Self { position: None, checksum: 0, complete: false, begun: Vec::new() }
    }

    /// Takes up the next bytes, wherever they were cut between the head and the end. Blocking.
    pub(crate) fn read_piece(&mut self, piece: &[u8], incoming: &mut IncomingState) -> Result<(), ConsensusError> {
        let wrong = |what: &str| ConsensusError::Format(format!("this is no copy of a ledger: {what}"));
        if self.complete {
            return Err(wrong("it goes on after its end"));
        }
        if self.position.is_none() {
            let rest = piece.strip_prefix(HEAD_MAGIC).ok_or_else(|| wrong("it does not begin as one"))?;
            let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(|| wrong("it is cut off"))?;
            let found = u32::from_le_bytes(*version);
            if found > DUMP_VERSION {
                let text = format!("the copy has format {found}, this version knows {DUMP_VERSION}; update this agent");
                return Err(ConsensusError::Format(text));
            }
            let position = <[u8; 8]>::try_from(rest).map_err(|_| wrong("it is cut off"))?;
            self.position = Some(u64::from_le_bytes(position));
            return Ok(());
        }
        // No row begins like this: its key would be a gigabyte long.
        if self.begun.is_empty()
            && let Some(rest) = piece.strip_prefix(END_MAGIC)
        {
            let mut expected = incoming.rows().to_le_bytes().to_vec();
            expected.extend_from_slice(&self.checksum.to_le_bytes());
            self.complete = rest == expected;
            return if self.complete { Ok(()) } else { Err(wrong("its checksum does not hold")) };
        }
        self.checksum = crc32c::crc32c_append(self.checksum, piece);
        self.begun.extend_from_slice(piece);
        let whole_bytes = whole_rows_bytes(&self.begun);
        incoming.write_piece(self.begun.get(..whole_bytes).unwrap_or_default())?;
        self.begun.drain(..whole_bytes);
        Ok(())
    }

    /// The position in the log whose state it is, if it was all there.
    pub(crate) fn finish(self) -> Result<u64, ConsensusError> {
        let cut_off = || ConsensusError::Format("the copy of the ledger ends before its end".to_owned());
        self.position.filter(|_| self.complete).ok_or_else(cut_off)
    }
}
