//! How long to wait before a message is sent again.

/// Waits after the first, second, … sending without an answer, in ms; the last one from then on. It is longer than routers
/// remember what passed, so that sendings whose number has reached its end are no duplicates to them.
const WAITS_MS: [u64; 8] = [1_000, 2_000, 5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000];

/// The shortest wait between two sendings of one message, in ms, however often its recipient comes back.
pub(super) const LEAST_MS: u64 = WAITS_MS[0];

/// How long to wait after so many sendings in a row (1 and more), in ms.
pub(super) fn wait_ms(sendings: u32) -> u64 {
    let index = usize::try_from(sendings.saturating_sub(1)).unwrap_or(usize::MAX);
    WAITS_MS[index.min(WAITS_MS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end_longer_than_routers_remember() {
        let waits: Vec<u64> = (1..20).map(wait_ms).collect();
        assert!(waits.is_sorted() && waits[0] == LEAST_MS && waits[5] == 300_000, "{waits:?}");
        assert!(waits[18] > dci_proto::router::RouterLimits::default().seen_life_ms);
        assert_eq!(wait_ms(u32::MAX), wait_ms(20));
    }
}
