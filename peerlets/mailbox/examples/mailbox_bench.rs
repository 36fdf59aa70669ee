//! What mailboxes do on this machine: `cargo run --release -p shoal-mailbox --example mailbox_bench [DIRECTORY] [SECONDS]`.
//!
//! Each caller posts a message in one mailbox, then accepts it in another, each durable before the next step, and hands back the
//! receipt. Prints how many messages a second, and how long posting and accepting took together. At the end: how long
//! a mailbox takes to open when it was closed, and as a crash leaves it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dci_proto::message::{Body, Envelope, Message, Receipt, ReceiptState, Recipient, Sender};
use dci_proto::{AgentId, MessageId};
use shoal_mailbox::{Clock as _, Mailbox, MailboxConfig, MailboxError, Opened, Settlement, SystemClock};

const BODY_BYTES: usize = 300;
const AGENTS: [AgentId; 2] = [AgentId([1; 32]), AgentId([2; 32])];

/// Two agents' mailboxes.
struct Pair {
    sender: Arc<Mailbox>,
    recipient: Arc<Mailbox>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = std::env::args().nth(2).map_or(Ok(5), |text| text.parse())?;
    let directory = directory.join(format!("mailbox-bench-{}", std::process::id()));
    let pair = Pair { sender: open(&directory, 0, true)?, recipient: open(&directory, 1, true)? };
    for callers in [1, 16, 64, 256] {
        run(&pair, callers, Duration::from_secs(seconds)).await?;
    }
    let path = file(&directory, 0);
    let copy = file(&directory, 2);
    std::fs::copy(&path, &copy)?;
    for mailbox in [pair.sender, pair.recipient] {
        // What is being settled still holds it.
        while Arc::strong_count(&mailbox) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let bytes = std::fs::metadata(&path)?.len();
    for (name, number) in [("closed", 0), ("crashed", 2)] {
        let start = Instant::now();
        drop(open(&directory, number, false)?);
        println!("open, {name}: {} MB in {:.2} s", bytes / 1_000_000, start.elapsed().as_secs_f64());
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn file(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("{number}.redb"))
}

/// Opens a mailbox; what comes out of it is taken at once, and settled if that is wanted.
fn open(directory: &Path, number: usize, settle: bool) -> Result<Arc<Mailbox>, MailboxError> {
    let config = MailboxConfig::new(file(directory, number), AGENTS[number % 2]);
    let Opened { mailbox, mut outgoing, mut incoming } = Mailbox::open(config)?;
    let mailbox = Arc::new(mailbox);
    tokio::spawn(async move { while outgoing.next().await.is_some() {} });
    let settling = Arc::downgrade(&mailbox);
    tokio::spawn(async move {
        while let Some(received) = incoming.next().await {
            if !settle {
                continue;
            }
            let Some(mailbox) = settling.upgrade() else { return };
            tokio::spawn(async move {
                let settled = mailbox.settle(received.place, Settlement::Handled { exit_status: 0 }).await;
                if let Err(error) = settled {
                    eprintln!("{error}");
                }
            });
        }
    });
    Ok(mailbox)
}

fn message() -> Result<Arc<Envelope>, Box<dyn std::error::Error + Send + Sync>> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut id = [0; 16];
    let now = SystemClock::default().now();
    // As UUIDs of version 7 are: in order of time, then at random. Fully random ones (SPREAD) touch more of the file.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let first = if std::env::var_os("SPREAD").is_some() { spread } else { now.wall_ms << 16 | spread >> 48 };
    id[..8].copy_from_slice(&first.to_be_bytes());
    id[8..].copy_from_slice(&spread.to_be_bytes());
    let message = Message {
        id: MessageId(id),
        kind: "bench".parse()?,
        session: None,
        sent_ms: now.wall_ms,
        expires_ms: now.wall_ms + 600_000,
        from: Sender { agent: AGENTS[0], user: None, session: None },
        to: Recipient::Agent(AGENTS[1]),
        in_reply_to: None,
        replay_of: None,
        body: Body::of_text(&"x".repeat(BODY_BYTES))?,
    };
    Ok(Arc::new(Envelope { message, ttl: 9, signature: [0; 64] }))
}

async fn run(pair: &Pair, callers: usize, length: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let workers: Vec<_> = (0..callers)
        .map(|_| {
            let (sender, recipient) = (Arc::clone(&pair.sender), Arc::clone(&pair.recipient));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < length {
                    let envelope = message()?;
                    let began = Instant::now();
                    sender.post(Arc::clone(&envelope), vec![AGENTS[1]]).await?;
                    recipient.accept(Arc::clone(&envelope)).await?;
                    times.push(began.elapsed());
                    let receipt = Receipt { of: envelope.message.id, state: ReceiptState::Delivered };
                    sender.receipt(AGENTS[1], receipt).await?;
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await?.map_err(|error| error.to_string())?);
    }
    let seconds = start.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).map_or(0.0, |time| time.as_secs_f64() * 1_000.0);
    let rate = times.len() as f64 / seconds;
    println!("{callers:4} callers: {rate:8.0} messages/s, p50 {:6.2} ms, p99 {:6.2} ms", at(50), at(99));
    Ok(())
}
