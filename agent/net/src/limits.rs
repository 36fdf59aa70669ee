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

/// While tunnels serve, the direct way is tried again after this time, then after ever longer ones.
pub(crate) const DIRECT_RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest time between two such tries.
pub(crate) const DIRECT_RETRY_LAST: Duration = Duration::from_secs(30);
/// Time between two looks whether a connection that is out of use still has answers to bring.
pub(crate) const DRAIN_LOOK: Duration = Duration::from_millis(250);
/// How long a connection that is out of use waits for answers.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long finding a way over others may take, the tunnel and the proof of both ends included.
pub(crate) const TUNNEL_SETUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an agent may take to say whether it reaches another itself, connecting to it included.
pub(crate) const TUNNEL_NEAR_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long an agent tries to reach the end of a tunnel itself.
pub(crate) const TUNNEL_DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long whoever opened a connection for a tunnel may take to say what it wants.
pub(crate) const TUNNEL_ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// A tunnel that ends sooner than this was most likely of no use.
pub(crate) const TUNNEL_PROVEN_AFTER: Duration = Duration::from_secs(3);
/// An agent whose port could not be dialled is not dialled for others again before this time is over.
pub(crate) const TUNNEL_DIAL_PAUSE: Duration = Duration::from_secs(2);
/// An agent whose port could not be dialled is not asked for a way before this time is over.
pub(crate) const HOP_PAUSE: Duration = Duration::from_secs(60);
/// Tunnels through an agent, those being made included. Each holds up to some 150 KiB of buffers.
pub(crate) const TUNNELS: usize = 512;
/// Tunnels through an agent that one member asked for: ten agents behind it, with all their connections.
pub(crate) const TUNNELS_PER_ASKER: usize = 64;
/// Searches for a way that an agent does for others at once. Each asks one agent after the other.
pub(crate) const SEARCHES: usize = 16;
/// Searches that an agent does for one member at once.
pub(crate) const SEARCHES_PER_ASKER: usize = 4;
/// Bytes that a tunnel takes from one end before it gives them to the other.
pub(crate) const TUNNEL_COPY_BYTES: usize = 32 * 1024;
/// A tunnel through which nothing came for this long, either way, is closed.
pub(crate) const TUNNEL_IDLE: Duration = Duration::from_secs(120);

/// Connections that an agent brings to others at once, until both ends are proved.
pub(crate) const BACKS: usize = 32;
/// Connections that an agent brings to one member at once.
pub(crate) const BACKS_PER_ASKER: usize = 8;

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
