//! How long something will still take.

/// Before this time has passed a rate says nothing: folders are looked into, connections are made.
pub const ETA_BASIS_MS: u64 = 5_000;

/// How long what is left takes at the rate so far; `None` as long as there is no basis for saying so.
#[must_use]
pub fn eta_ms(done_bytes: u64, left_bytes: u64, elapsed_ms: u64) -> Option<u64> {
    if elapsed_ms < ETA_BASIS_MS || done_bytes == 0 || left_bytes == 0 {
        return None;
    }
    let eta_ms = u128::from(left_bytes) * u128::from(elapsed_ms) / u128::from(done_bytes);
    Some(u64::try_from(eta_ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_before_there_is_a_basis() {
        assert_eq!(eta_ms(1, 1_000_000, ETA_BASIS_MS - 1), None);
        assert_eq!((eta_ms(0, 10, 60_000), eta_ms(10, 0, 60_000)), (None, None));
        assert_eq!(eta_ms(10_000, 20_000, 10_000), Some(20_000));
        assert_eq!(eta_ms(1, u64::MAX, u64::MAX), Some(u64::MAX));
    }
}
