//! What one store does on this machine: `cargo run --release -p shoal-store --example store_bench [DIRECTORY]`.
//!
//! Prints, for durable puts and for gets of small and large shards, how many a second, the bytes, and the CPU time of
//! this process with the kernel's on its behalf.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dci_proto::{ShardKey, StripeId};
use shoal_store::{DiskStore, DiskStoreConfig, ShardStore, StoreError};

const SMALL_BYTES: usize = 4096;
const LARGE_BYTES: usize = 1024 * 1024;

/// Bytes nobody has to compute or copy: the store looks at all of them alike.
static DATA: [u8; LARGE_BYTES] = [0x5a; LARGE_BYTES];

type Store = Arc<DiskStore>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), StoreError> {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("store-bench-{}", std::process::id()));
    let config = DiskStoreConfig { create_if_new: true, ..DiskStoreConfig::new(&directory) };
    let store = Arc::new(DiskStore::open(config)?);
    let put = |kind: u8, data: &'static [u8]| {
        move |store: Store, number: u64| async move {
            store.put(key(kind, number), Bytes::from_static(data), None).await.map(drop)
        }
    };
    let get =
        |kind: u8| move |store: Store, number: u64| async move { store.get(key(kind, number), None).await.map(drop) };
    run("put 4 KiB, 64 at once", &store, 64, 60_000, SMALL_BYTES, put(0, &DATA[..SMALL_BYTES])).await?;
    run("put 4 KiB, 1 at once", &store, 1, 1_000, SMALL_BYTES, put(1, &DATA[..SMALL_BYTES])).await?;
    run("get 4 KiB, 16 at once", &store, 16, 60_000, SMALL_BYTES, get(0)).await?;
    run("put 1 MiB, 16 at once", &store, 16, 2_048, LARGE_BYTES, put(2, &DATA)).await?;
    run("get 1 MiB, first time", &store, 16, 2_048, LARGE_BYTES, get(2)).await?;
    // The first of these reads past the page cache, the next fills it, the last is served from it.
    for time in ["direct", "filling", "cached"] {
        run(&format!("get 512 x 1 MiB, {time}"), &store, 16, 512, LARGE_BYTES, get(2)).await?;
    }
    drop(store);
    std::fs::remove_dir_all(&directory).map_err(|error| StoreError::Io {
        action: format!("remove {}", directory.display()),
        reason: error.to_string(),
    })
}

fn key(kind: u8, number: u64) -> ShardKey {
    let mut stripe = [0; 16];
    // Spread as random ids are.
    stripe[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    stripe[8..].copy_from_slice(&number.to_be_bytes());
    ShardKey { stripe: StripeId(stripe), index: kind }
}

async fn run<F, R>(name: &str, store: &Store, at_once: u64, count: u64, bytes: usize, call: F) -> Result<(), StoreError>
where
    F: Fn(Store, u64) -> R + Copy + Send + 'static,
    R: Future<Output = Result<(), StoreError>> + Send,
{
    let (start, before) = (Instant::now(), cpu_time());
    let workers: Vec<_> = (0..at_once)
        .map(|worker| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for number in (worker..count).step_by(usize::try_from(at_once).unwrap_or(1)) {
                    call(Arc::clone(&store), number).await?;
                }
                Ok::<_, StoreError>(())
            })
        })
        .collect();
    for worker in workers {
        worker.await.map_err(|error| StoreError::Invalid(error.to_string()))??;
    }
    let (seconds, after) = (start.elapsed().as_secs_f64(), cpu_time());
    let [user, kernel] = [0, 1].map(|kind| after[kind].saturating_sub(before[kind]).as_secs_f64());
    let (count, gibibytes) = (count as f64, count as f64 * bytes as f64 / (1u64 << 30) as f64);
    println!(
        "{name:24} {:9.0}/s {:8.0} MB/s {:7.3} CPU-ms each, CPU-s/GiB {:6.2} user {:6.2} kernel",
        count / seconds,
        gibibytes * 1073.74 / seconds,
        (user + kernel) * 1000.0 / count,
        user / gibibytes,
        kernel / gibibytes
    );
    Ok(())
}

/// User and kernel time of this process so far.
fn cpu_time() -> [Duration; 2] {
    // Fields 14 and 15 of the line, in hundredths of a second; the name before them ends with the last parenthesis.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    [(); 2].map(|()| {
        let ticks = fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        Duration::from_millis(ticks * 10)
    })
}
