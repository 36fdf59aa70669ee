//! How far something is, and a way to end it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Bytes after which the caller is told again.
const TELL_EVERY_BYTES: u64 = 1 << 20;
/// Files after which the caller is told again.
const TELL_EVERY_FILES: u64 = 256;

/// How far something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Files looked at or written.
    pub files: u64,
    /// Bytes of files looked at or written.
    pub bytes: u64,
    /// Time since it began.
    pub elapsed_ms: u64,
}

impl Progress {
    /// Bytes per second so far.
    #[must_use]
    pub fn bytes_per_s(&self) -> u64 {
        self.bytes.saturating_mul(1_000) / self.elapsed_ms.max(1)
    }
}

type Tell = Box<dyn Fn(Progress) + Send + Sync>;

/// Watches one backup or restore: is told how far it is, and may cancel it.
pub struct Watch {
    cancelled: Arc<AtomicBool>,
    tell: Option<Tell>,
    files: AtomicU64,
    bytes: AtomicU64,
    told: AtomicU64,
    begun: Instant,
}

impl Watch {
    /// One that ends when `cancelled` becomes true. `tell` is called from any thread, now and then, and should return soon.
    #[must_use]
    pub fn new(cancelled: Arc<AtomicBool>, tell: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { cancelled, tell: Some(Box::new(tell)), ..Self::silent() }
    }

    /// One that nobody looks at.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            cancelled: Arc::default(),
            tell: None,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            told: AtomicU64::new(0),
            begun: Instant::now(),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            elapsed_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, files: u64, bytes: u64) {
        let files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let Some(tell) = &self.tell else { return };
        let mark = files / TELL_EVERY_FILES + bytes / TELL_EVERY_BYTES;
        if self.told.fetch_max(mark, Ordering::Relaxed) < mark {
            tell(self.progress());
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(tell) = &self.tell {
            tell(self.progress());
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("progress", &self.progress()).finish_non_exhaustive()
    }
}
