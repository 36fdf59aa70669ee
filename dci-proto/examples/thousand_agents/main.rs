//! A thousand agents in one process, with the delays of a network: how fast the directory is the same everywhere, how fast a
//! broadcast is with all, and what both cost. The same run for the same seed.
//!
//! `cargo run --release -p dci-proto --example thousand_agents`

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "it is a measurement: what fails stops it")]

mod broadcast;
mod directory;
mod network;

use network::Network;

/// Delay of a message over one link, in ms.
const DELAY_MS: std::ops::RangeInclusive<u64> = 1..=50;

fn main() {
    println!("Each hop takes {} to {} ms, drawn anew for each message.", DELAY_MS.start(), DELAY_MS.end());
    println!("\nThe directory (10 peerlets an agent)\n");
    directory::head();
    directory::measure(&Network::random(100, 8, 3), 3);
    directory::measure(&Network::mesh(50), 1);
    directory::measure(&Network::mesh(100), 2);
    directory::measure(&Network::random(1_000, 8, 4), 4);
    println!("\nBroadcasts\n");
    broadcast::head();
    broadcast::measure(&Network::mesh(50), 5);
    broadcast::measure(&Network::random(50, 8, 6), 6);
    broadcast::measure(&Network::random(50, 4, 7), 7);
    broadcast::measure(&Network::random(1_000, 8, 8), 8);
    if let Some(kib) = network::peak_memory_kib() {
        println!("\nAll of this took at most {} MiB of memory.", kib / 1024);
    }
}
