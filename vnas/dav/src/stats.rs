//! What the door counts, for the agent to export.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

/// The methods counted apart; the last stands for all others.
pub const METHODS: [&str; 15] = [
    "GET",
    "HEAD",
    "PUT",
    "PROPFIND",
    "OPTIONS",
    "LOCK",
    "UNLOCK",
    "PROPPATCH",
    "MKCOL",
    "DELETE",
    "COPY",
    "MOVE",
    "POST",
    "PATCH",
    "other",
];
/// The statuses counted apart; 0 stands for all others.
pub const STATUSES: [u16; 26] = [
    200, 201, 204, 206, 207, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 414, 415, 416, 423, 429, 500, 501, 502,
    503, 507, 0,
];
/// Upper ends of the latency buckets, in ms; one more bucket counts what took longer.
pub const LATENCY_BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 30_000];

/// Counters since the door was made. Reading them stops nobody.
#[derive(Debug)]
pub struct DoorStats {
    requests: [[AtomicU64; STATUSES.len()]; METHODS.len()],
    latencies: [AtomicU64; LATENCY_BUCKETS_MS.len() + 1],
    latency_sum_us: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    connections: AtomicU64,
    connections_open: AtomicU64,
}

impl Default for DoorStats {
    fn default() -> Self {
        Self {
            requests: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            latencies: std::array::from_fn(|_| AtomicU64::new(0)),
            latency_sum_us: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            connections_open: AtomicU64::new(0),
        }
    }
}

impl DoorStats {
    /// Requests answered so far: method, status, how many; those that occurred.
    #[must_use]
    pub fn requests(&self) -> Vec<(&'static str, u16, u64)> {
        let of_method = |(row, method): (&[AtomicU64; STATUSES.len()], &'static str)| {
            let counts =
                row.iter().zip(STATUSES).map(|(count, status)| (method, status, count.load(Ordering::Relaxed)));
            counts.filter(|(_, _, count)| *count > 0).collect::<Vec<_>>()
        };
        self.requests.iter().zip(METHODS).flat_map(of_method).collect()
    }

    /// Answers by the time to their head: one count for each of [`LATENCY_BUCKETS_MS`] and one for what took longer.
    #[must_use]
    pub fn latencies(&self) -> Vec<u64> {
        self.latencies.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// The time all answers took together to their heads, in µs.
    #[must_use]
    pub fn latency_sum_us(&self) -> u64 {
        self.latency_sum_us.load(Ordering::Relaxed)
    }

    /// Bytes of request bodies taken.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of answers' bodies given.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections open now.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        self.connections_open.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self, method: &Method, status: StatusCode, latency: Duration) {
        let row = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
        let column = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        self.requests[row][column].fetch_add(1, Ordering::Relaxed);
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BUCKETS_MS.iter().position(|end| latency_us <= end * 1000);
        self.latencies[bucket.unwrap_or(LATENCY_BUCKETS_MS.len())].fetch_add(1, Ordering::Relaxed);
        self.latency_sum_us.fetch_add(latency_us, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.connections_open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_method_status_and_time() {
        let stats = DoorStats::default();
        let method = Method::from_bytes(b"PROPFIND").expect("a method");
        stats.answered(&method, StatusCode::MULTI_STATUS, Duration::from_micros(900));
        stats.answered(&method, StatusCode::MULTI_STATUS, Duration::from_secs(60));
        stats.answered(&Method::TRACE, StatusCode::IM_A_TEAPOT, Duration::from_millis(3));
        assert_eq!(stats.requests(), [("PROPFIND", 207, 2), ("other", 0, 1)]);
        assert_eq!(stats.latencies(), [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(stats.latency_sum_us(), 60_003_900);
    }
}
