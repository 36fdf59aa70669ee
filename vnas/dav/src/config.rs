//! How a door behaves, and its bounds.

use std::time::Duration;

/// How a door behaves.
#[derive(Debug, Clone)]
pub struct DoorConfig {
    /// Shown by clients when they ask for a password.
    pub realm: String,
    /// Connections open at a time; more wait in the listener's queue. Clients open 4 to 32 each. A connection takes
    /// some 10 KB at rest and up to 256 KB in full swing.
    pub connections_limit: usize,
    /// A connection that sends no (whole) request head for so long is closed. Also how long it may idle.
    pub head_timeout: Duration,
    /// A connection that takes no byte of an answer, or gives no byte of a body, for so long is closed.
    pub stall_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long requests under way may go on after shutdown was asked for.
    pub drain_timeout: Duration,
    /// Bytes of an XML body, at most. Real clients send some hundred.
    pub xml_limit_bytes: usize,
    /// Resources that a PROPFIND with `Depth: infinity` may list; larger trees are refused as RFC 4918 §9.1 says.
    pub infinity_limit_nodes: usize,
    /// Locks are granted for so long at most, whatever is asked for: clients that live refresh them.
    pub lock_timeout_limit_s: u32,
    /// Locks are granted for so long when nothing is asked for.
    pub lock_timeout_default_s: u32,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            realm: "Shoal".to_owned(),
            connections_limit: 512,
            head_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            xml_limit_bytes: 256 * 1024,
            infinity_limit_nodes: 10_000,
            lock_timeout_limit_s: 3600,
            lock_timeout_default_s: 600,
        }
    }
}
