//! D12: agents are found by asking addresses, as far as they want to be found; whoever else listens there holds nothing up.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

#[allow(dead_code, reason = "each test file uses its part")]
mod harness;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use harness::{DEADLINE, Folder, cut_off};
use serde_json::Value;
use shoal::start::{Entry, start};
use tokio::process::Command;

async fn discover(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal"));
    command.arg("discover").args(arguments).stdin(Stdio::null());
    tokio::time::timeout(DEADLINE, command.output()).await.expect("discover ends").expect("discover runs")
}

/// Somebody who takes connections and does that with each.
fn stranger(with: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let with = with.clone();
            std::thread::spawn(move || with(stream));
        }
    });
    address.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_announces_itself_is_found_by_its_address_and_strangers_hold_nothing_up() {
    let folder = Folder::new();
    let mut config = folder.config("seen");
    config.announce = true;
    let seen = start(config, Entry::Usual).await.expect("an agent").agent;
    let (hidden, _) = folder.found("hidden").await;
    let [seen_at, hidden_at] = [&seen, &hidden].map(|agent| agent.context().data_addresses[0].to_string());
    let silent = stranger(|stream| {
        let _held = stream;
        std::thread::park();
    });
    let endless = stranger(|mut stream| while stream.write_all(&[0x16; 65_536]).is_ok() {});
    let nobody =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();

    let begin = Instant::now();
    let output = discover(&[&silent, &endless, &nobody, &hidden_at, &seen_at, "--json"]).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "took {:?}", begin.elapsed());
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    let (agent, at) = (seen.context().agent, &found[0]["data_addresses"]);
    assert_eq!(found[0]["id"], agent.to_string());
    assert_eq!(found[0]["fingerprint"], agent.fingerprint());
    assert_eq!((found[0]["name"].as_str(), found[0]["pool"].as_str()), (Some("seen"), Some("pool")));
    assert_eq!(at[0].as_str().and_then(|at| at.parse::<SocketAddr>().ok()), seen_at.parse().ok());
    cut_off(seen).await;
    cut_off(hidden).await;
}

#[tokio::test]
async fn other_peoples_networks_and_too_large_ones_are_refused_with_a_sentence() {
    for (range, said) in [("203.0.113.0/24", "--anywhere"), ("127.0.0.0/19", "at most 4096 addresses")] {
        let output = discover(&[range]).await;
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{output:?}");
    }
    let output = discover(&["10.0.0.0/33"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
