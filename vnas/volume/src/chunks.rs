//! Which stripes hold a version of a file.

use std::ops::Range;
use std::sync::Arc;

use dci_proto::{ContentId, InodeId};
use shoal_ledger::{CHUNK_BYTES, KvRead, query};

use crate::DriveError;
use crate::fetch::Stripe;
use crate::shared::Shared;

/// Chunks whose stripes are looked up when a file is opened. A file of no more is fixed from then on.
const OPEN_CHUNKS: u32 = 16;
/// Chunks whose stripes are looked up at a time while a longer file is read: some 100 KB for 1 GiB of it.
const PAGE_CHUNKS: u32 = 256;

/// One chunk and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) content: ContentId,
    pub(crate) plain_bytes: u32,
    pub(crate) stripe: Stripe,
}

/// The chunks of a version of a file, as far as they have been looked up.
#[derive(Clone)]
pub(crate) struct ChunkTable {
    file: InodeId,
    total: u32,
    first: u32,
    page: Arc<Vec<Chunk>>,
}

impl ChunkTable {
    /// The chunks of a file that has so many bytes; the first ones are looked up now.
    pub(crate) fn open(shared: &Shared, file: InodeId, size_bytes: u64) -> Result<Self, DriveError> {
        let total = u32::try_from(size_bytes.div_ceil(u64::from(CHUNK_BYTES)))
            .map_err(|_| DriveError::Damaged("its size is beyond what a file can have".to_owned()))?;
        let fits = total <= OPEN_CHUNKS;
        let page = if fits { look_up(&*shared.view()?, file, 0..total)? } else { Vec::new() };
        Ok(Self { file, total, first: 0, page: Arc::new(page) })
    }

    /// A chunk, if it has been looked up.
    pub(crate) fn known(&self, index: u32) -> Option<&Chunk> {
        self.page.get(index.checked_sub(self.first)? as usize)
    }

    /// A chunk; looks it and those after it up to `until` up if need be.
    pub(crate) async fn chunk(&mut self, shared: &Arc<Shared>, index: u32, until: u32) -> Result<Chunk, DriveError> {
        if self.known(index).is_none() {
            let wanted = index..until.min(self.total).min(index.saturating_add(PAGE_CHUNKS));
            let (file, view) = (self.file, shared.view()?);
            let page = if wanted.len() <= OPEN_CHUNKS as usize {
                look_up(&*view, file, wanted)?
            } else {
                let look_up = tokio::task::spawn_blocking(move || look_up(&*view, file, wanted));
                look_up.await.map_err(|_| DriveError::Interrupted("a worker"))??
            };
            (self.first, self.page) = (index, Arc::new(page));
        }
        self.known(index).cloned().ok_or_else(|| DriveError::Unavailable("the file was replaced meanwhile".to_owned()))
    }
}

fn look_up(view: &dyn KvRead, file: InodeId, wanted: Range<u32>) -> Result<Vec<Chunk>, DriveError> {
    let rows = query::chunks(view, file, wanted.start, wanted.end - wanted.start)?;
    if rows.len() != wanted.len() {
        return Err(DriveError::Unavailable("the file was replaced meanwhile".to_owned()));
    }
    let chunk = |(content, plain_bytes)| {
        let (id, record) = query::content(view, content)?
            .ok_or_else(|| DriveError::Damaged("the ledger knows no stripe for a chunk of it".to_owned()))?;
        Ok(Chunk { content, plain_bytes, stripe: Stripe { id, record: Arc::new(record) } })
    };
    rows.into_iter().map(chunk).collect()
}
