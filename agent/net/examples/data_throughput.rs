//! What moving bulk bytes over the data channel costs: two networks in one process, 1 MiB each way over loopback.
//!
//! `cargo run --release -p shoal-net --example data_throughput [GIB]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use futures::StreamExt;
use shoal_net::{Handler, Lane, Net, NetConfig, Network, Peer, RefuseJoins, Request, Response};

const BODY_BYTES: usize = 1 << 20;
const AT_ONCE: usize = 8;
const SMALL_CALLS: usize = 50_000;

/// Keeps what is put, gives what is got.
struct Shards(Bytes);

const GET: u16 = 1;

#[async_trait]
impl Handler for Shards {
    async fn handle(&self, _from: AgentId, _lane: Lane, request: Request) -> Response {
        let body = if request.method == GET { self.0.clone() } else { Bytes::new() };
        Response { body, ..Response::default() }
    }
}

async fn start(seed: u8) -> Result<Net, shoal_net::NetStartError> {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config = NetConfig { key_seed: [seed; 32].into(), control_listen: any, data_listen: any };
    Net::start(config, Arc::new(Shards(vec![7; BODY_BYTES].into())), Arc::new(RefuseJoins)).await
}

fn peer(net: &Net) -> Peer {
    Peer { agent: net.local(), control_addresses: net.control_addresses(), data_addresses: net.data_addresses() }
}

/// User and system time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

async fn calls(
    net: &Net,
    to: AgentId,
    lane: Lane,
    at_once: usize,
    count: usize,
    request: Request,
) -> (Duration, Duration) {
    let (began, cpu_before) = (Instant::now(), cpu());
    let failed = futures::stream::iter(0..count)
        .map(|_| net.call(to, lane, request.clone(), Duration::from_secs(30)))
        .buffer_unordered(at_once)
        .filter(|answer| std::future::ready(answer.is_err()))
        .count()
        .await;
    assert_eq!(failed, 0, "calls failed");
    (began.elapsed(), cpu() - cpu_before)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gib: usize = std::env::args().nth(1).map_or(Ok(4), |text| text.parse())?;
    let (asking, answering) = (start(1).await?, start(2).await?);
    asking.set_peers(vec![peer(&answering)]);
    answering.set_peers(vec![peer(&asking)]);
    let to = answering.local();
    let body = Bytes::from(vec![7; BODY_BYTES]);
    for (what, method, body) in [("put", 0, body), ("get", GET, Bytes::new())] {
        let request = Request { method, head: Bytes::from_static(b"head"), body };
        let (took, cpu) = calls(&asking, to, Lane::Foreground, AT_ONCE, gib * 1024, request).await;
        let rate = gib as f64 * 1024.0 / took.as_secs_f64();
        println!("{what}: {rate:.0} MiB/s, {:.2} CPU-s/GiB both ends", cpu.as_secs_f64() / gib as f64);
    }
    for (lane, at_once) in [(Lane::Control, 1), (Lane::Control, 64), (Lane::Foreground, 1), (Lane::Foreground, 64)] {
        let (took, cpu) = calls(&asking, to, lane, at_once, SMALL_CALLS, Request::default()).await;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / SMALL_CALLS as f64;
        println!("{lane:?}, {at_once} at once: {:.1} µs each, {:.1} CPU-µs each both ends", each(took), each(cpu));
    }
    Ok(())
}
