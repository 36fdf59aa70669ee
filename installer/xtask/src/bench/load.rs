//! The loads, each the same for every server.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shoal_testkit::{HttpClient, RandomBytes};

/// How long one answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);
/// Bytes of a small file.
pub(crate) const SMALL_BYTES: usize = 4096;

/// Where a load goes.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Path of the folder it works in, with a slash at its end.
    pub(crate) base: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Target {
    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::new(self.address, &self.user, &self.password, ANSWER_DEADLINE)
    }
}

/// What a load took at the client.
pub(crate) struct Taken {
    pub(crate) wall: Duration,
    pub(crate) latencies: Vec<Duration>,
}

impl Taken {
    /// A latency at a fraction of the sorted list.
    pub(crate) fn percentile(&self, fraction: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let index = ((sorted.len() as f64 * fraction) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or_default()
    }
}

/// Random bytes to read from, made in large pieces ahead so that making them is not what is measured.
struct RandomReader {
    block: Vec<u8>,
    position: usize,
    counter: u64,
}

impl RandomReader {
    fn new(seed: u64) -> Self {
        Self { block: RandomBytes::new(seed).take(8 << 20), position: 0, counter: 0 }
    }
}

impl Read for RandomReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.position == self.block.len() {
            self.position = 0;
            self.counter += 1;
            // Another number in every 4 KiB keeps chunks from repeating without making 8 MiB anew.
            for (index, page) in self.block.chunks_mut(4096).enumerate() {
                page[..8].copy_from_slice(&(self.counter << 20 | index as u64).to_le_bytes());
            }
        }
        let length = buffer.len().min(self.block.len() - self.position);
        buffer[..length].copy_from_slice(&self.block[self.position..self.position + length]);
        self.position += length;
        Ok(length)
    }
}

pub(crate) fn put_large(target: &Target, name: &str, bytes: u64, seed: u64) -> Result<Taken> {
    let mut client = target.client();
    let mut source = RandomReader::new(seed);
    let begin = Instant::now();
    client.put(&format!("{}{name}", target.base), bytes, &mut source)?.expect(&[200, 201, 204])?;
    Ok(Taken { wall: begin.elapsed(), latencies: Vec::new() })
}

pub(crate) fn get_large(target: &Target, name: &str, bytes: u64) -> Result<Taken> {
    let mut client = target.client();
    let mut received = 0u64;
    let begin = Instant::now();
    client.get(&format!("{}{name}", target.base), &mut |piece| received += piece.len() as u64)?.expect(&[200])?;
    if received != bytes {
        bail!("{received} bytes came instead of {bytes}");
    }
    Ok(Taken { wall: begin.elapsed(), latencies: Vec::new() })
}

/// `count` requests over `clients` connections; `request` makes the one of a number.
fn many(
    target: &Target,
    clients: usize,
    count: usize,
    request: &(dyn Fn(&mut HttpClient, usize) -> Result<()> + Sync),
) -> Result<Taken> {
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    let results: Vec<Result<Vec<Duration>>> = std::thread::scope(|scope| {
        let work = || {
            let mut client = target.client();
            let mut latencies = Vec::with_capacity(count / clients + 1);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(latencies);
                }
                let begin = Instant::now();
                request(&mut client, number)?;
                latencies.push(begin.elapsed());
            }
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<Duration>>>| {
            thread.join().unwrap_or_else(|_| bail!("a client thread panicked"))
        };
        threads.into_iter().map(join).collect()
    });
    let wall = begin.elapsed();
    let mut latencies = Vec::with_capacity(count);
    for result in results {
        latencies.extend(result?);
    }
    Ok(Taken { wall, latencies })
}

pub(crate) fn put_small(target: &Target, prefix: &str, clients: usize, count: usize) -> Result<Taken> {
    many(target, clients, count, &|client, number| {
        let body = RandomBytes::new(number as u64 ^ (prefix.len() as u64) << 40).take(SMALL_BYTES);
        let path = format!("{}{prefix}{number:05}", target.base);
        client.request("PUT", &path, &[], &body)?.expect(&[200, 201, 204]).map(drop)
    })
}

pub(crate) fn get_small(target: &Target, prefix: &str, files: usize, clients: usize, count: usize) -> Result<Taken> {
    many(target, clients, count, &|client, number| {
        let path = format!("{}{prefix}{:05}", target.base, number * 7919 % files);
        let response = client.request("GET", &path, &[], b"")?.expect(&[200])?;
        if response.body.len() != SMALL_BYTES {
            bail!("{} bytes came of {path}", response.body.len());
        }
        Ok(())
    })
}

/// Lists a folder that must have `entries` in it.
pub(crate) fn list(target: &Target, folder: &str, entries: usize) -> Result<Taken> {
    let begin = Instant::now();
    let path = format!("{}{folder}", target.base);
    let response = target.client().request("PROPFIND", &path, &[("Depth", "1")], b"")?.expect(&[207])?;
    let text = String::from_utf8(response.body).context("the listing is not UTF-8")?;
    let found = text.matches("href>").count() / 2;
    if found < entries {
        bail!("{found} entries listed instead of {entries}");
    }
    Ok(Taken { wall: begin.elapsed(), latencies: Vec::new() })
}

pub(crate) fn make_folder(target: &Target, folder: &str) -> Result<()> {
    target.client().request("MKCOL", &format!("{}{folder}", target.base), &[], b"")?.expect(&[201, 405]).map(drop)
}
