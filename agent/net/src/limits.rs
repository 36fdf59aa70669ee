//! The bounds of the transport, in one place: what waits, how long, how much.

use std::time::Duration;

/// Requests under way to one peer on the control network. Consensus pipelines its entries; beyond this it is stuck.
pub const IN_FLIGHT_CONTROL: usize = 256;
/// Requests with bulk bytes (pieces of snapshots, batches of entries) under way to one peer on the control network.
/// Few, for each may be 4 MiB.
pub(crate) const IN_FLIGHT_CONTROL_BULK: usize = 8;
/// Foreground requests under way to one peer: at 1 MiB a shard as much as a fast disk does in 50 ms.
pub const IN_FLIGHT_FOREGROUND: usize = 64;
/// Background requests under way to one peer: enough to hide a round trip.
pub const IN_FLIGHT_BACKGROUND: usize = 16;
/// Requests that wait for one of those places, per peer and lane. One more is answered with `Busy`.
pub const WAITING_REQUESTS: usize = 1024;

/// Control requests with more bytes than this go over a stream of their own, so that a heartbeat never waits for a
/// snapshot.
pub(crate) const CONTROL_BULK_FROM_BYTES: usize = 32 * 1024;
/// Data connections to one peer for the foreground: two, so that both ends can use two cores.
pub(crate) const FOREGROUND_CONNECTIONS: usize = 2;

/// Background requests handled at once, all peers together.
pub(crate) const BACKGROUND_HANDLERS: usize = 4;
/// Bytes of foreground bodies held at once for handlers, all peers together.
pub(crate) const FOREGROUND_BODY_BUDGET_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of background bodies held at once for handlers, all peers together.
pub(crate) const BACKGROUND_BODY_BUDGET_BYTES: usize = 12 * 1024 * 1024;
/// Bytes of control bodies held at once for handlers, all peers together.
pub(crate) const CONTROL_BODY_BUDGET_BYTES: usize = 32 * 1024 * 1024;

/// Data connections accepted from one member; the oldest is closed for a new one, since a restarted peer's old
/// connections may look alive for a while.
pub(crate) const ACCEPTED_PER_PEER: usize = 8;
/// TLS handshakes under way at once.
pub(crate) const PENDING_HANDSHAKES: usize = 128;
/// TLS handshakes under way at once from one address.
pub(crate) const PENDING_HANDSHAKES_PER_ADDRESS: usize = 48;
/// How long a TLS handshake may take, either end.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Join conversations under way at once.
pub(crate) const JOINS_AT_ONCE: usize = 8;
/// How long a join conversation may take.
pub(crate) const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one address is given before the next is tried as well.
pub(crate) const ADDRESS_HEAD_START: Duration = Duration::from_millis(200);
/// Addresses of one peer that are tried, at most.
pub(crate) const ADDRESSES_TRIED: usize = 16;
/// How long a connection may take to be usable, all addresses together.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// The first pause after a failed connection; calls within it fail at once.
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// The longest such pause.
pub(crate) const BACKOFF_LAST: Duration = Duration::from_secs(1);

/// A connection on which nothing can be written or, within a frame, read for this long is closed.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// After a request timed out its connection must bring some byte within this time.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Silence after which the kernel asks whether the peer still exists.
pub(crate) const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);

/// Frames that wait to be written on one connection.
pub(crate) const WRITE_QUEUE_FRAMES: usize = 64;
/// Frames up to this size are gathered and written together.
pub(crate) const GATHER_BYTES: usize = 16 * 1024;
/// Encrypted bytes waiting for the socket on one TLS connection: few system calls, and it stays in the cache.
pub(crate) const TLS_WRITE_BYTES: usize = 256 * 1024;
/// Bytes read from a data socket at once: rustls alone would read 4 KiB at a time.
pub(crate) const SOCKET_READ_BYTES: usize = 64 * 1024;
/// Bytes read from a control stream at once.
pub(crate) const STREAM_READ_BYTES: usize = 8 * 1024;

/// How long shutting down waits for handlers that are at work.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// Time between libp2p pings: only to notice connections whose other end vanished without a word.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How long an unused libp2p connection stays.
pub(crate) const IDLE_CONNECTION: Duration = Duration::from_secs(60);
/// libp2p connections that are being set up, at most, each way.
pub(crate) const PENDING_CONTROL_CONNECTIONS: u32 = 128;
/// libp2p connections to one member: one each way, and as many that were not yet noticed to be dead.
pub(crate) const CONTROL_CONNECTIONS_PER_PEER: u32 = 6;
/// Streams on one libp2p connection.
pub(crate) const CONTROL_STREAMS_PER_CONNECTION: usize = 32;
/// Instructions that wait for the libp2p swarm.
pub(crate) const SWARM_COMMANDS: usize = 64;
