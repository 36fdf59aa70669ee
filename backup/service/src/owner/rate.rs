//! A limit on bandwidth: so many bytes a second over all peers together, no bursts longer than a moment.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A piece takes about so long on a slow link, so that an answer comes in time.
const PIECE_S: u64 = 8;
/// Pieces are not smaller than this, however slow the link.
const PIECE_LEAST_BYTES: u64 = 64 * 1024;

/// When the next bytes may go.
#[derive(Debug, Default)]
pub(super) struct Rate {
    free_at: Mutex<Option<Instant>>,
}

impl Rate {
    /// Waits for the turn of so many bytes.
    pub(super) async fn take(&self, bytes: u64, kib_s: Option<u32>) {
        let Some(kib_s) = kib_s else { return };
        let cost = Duration::from_micros(bytes.saturating_mul(1_000_000) / (u64::from(kib_s.max(1)) * 1024));
        let begins = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = free_at.unwrap_or_else(Instant::now).max(Instant::now());
            *free_at = begins.checked_add(cost);
            begins
        };
        tokio::time::sleep_until(begins).await;
    }
}

/// Bytes of a piece under this limit.
pub(super) fn piece_bytes(kib_s: Option<u32>, most: u32) -> usize {
    let most = u64::from(most);
    let piece = kib_s.map_or(most, |kib_s| (u64::from(kib_s) * 1024 * PIECE_S).clamp(PIECE_LEAST_BYTES, most));
    usize::try_from(piece).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_wait_for_their_turn_whoever_sends_them() {
        let (rate, begun) = (Rate::default(), Instant::now());
        rate.take(u64::MAX / 2, None).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..4 {
            rate.take(512 * 1024, Some(256)).await;
        }
        assert!((Duration::from_secs(6)..Duration::from_secs(7)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert_eq!((piece_bytes(None, 4 << 20), piece_bytes(Some(8), 4 << 20)), (4 << 20, 64 * 1024));
        assert_eq!(piece_bytes(Some(64), 4 << 20), 512 * 1024);
    }
}
