//! What asking a long log costs on this machine: `cargo run --release -p shoal-mailbox --example log_bench [DIRECTORY] [ENTRIES]`.
//!
//! Fills a log (a million entries of ten days unless said otherwise), then asks it in several ways, all pages of each. Prints how
//! many entries were looked at and the time of the processor that this took, in all and for the most expensive page: that long a
//! thread of the agent is busy with it, whatever else the machine does.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dci_proto::message::{Body, Envelope, Message, Recipient, Sender};
use dci_proto::{AgentId, MessageId, SessionId};
use shoal_mailbox::{Clock, Mailbox, MailboxConfig, Now, Opened, Order, Query, Retention};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ENTRIES_USUAL: u64 = 1_000_000;
const BODY_BYTES: usize = 300;
const START_MS: u64 = 1_700_000_000_000;
/// Ten days.
const SPAN_MS: u64 = 10 * 24 * 60 * 60 * 1_000;
/// Messages that come at once.
const AT_ONCE: u64 = 2_000;
const ME: AgentId = AgentId([1; 32]);
const OTHER: AgentId = AgentId([2; 32]);

/// A clock that goes when it is told to.
#[derive(Default)]
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> Now {
        let steady_ms = self.0.load(Ordering::SeqCst);
        Now { steady_ms, wall_ms: START_MS + steady_ms }
    }
}

fn main() -> Result<(), Failure> {
    // Threads stay: the time of one that is gone would be missing.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).thread_keep_alive(Duration::from_secs(24 * 60 * 60)).enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let entries = std::env::args().nth(2).map_or(Ok(ENTRIES_USUAL), |text| text.parse())?;
    let directory = directory.join(format!("log-bench-{}", std::process::id()));
    let clock = Arc::<SetClock>::default();
    let retention = Retention { age_ms: u64::MAX, bytes: u64::MAX };
    let config =
        MailboxConfig { clock: clock.clone(), retention, ..MailboxConfig::new(directory.join("log.redb"), ME) };
    let Opened { mailbox, outgoing: _outgoing, incoming: _incoming } = Mailbox::open(config)?;
    let mailbox = Arc::new(mailbox);
    let began = Instant::now();
    for first in (0..entries).step_by(usize::try_from(AT_ONCE)?) {
        let last = entries.min(first + AT_ONCE);
        clock.0.store(SPAN_MS / entries * last, Ordering::SeqCst);
        let mut coming = Vec::new();
        for number in first..last {
            let (mailbox, envelope) = (Arc::clone(&mailbox), message(number)?);
            // Refused ones are one entry each.
            coming.push(tokio::spawn(async move { mailbox.refuse(envelope, "no".to_owned()).await }));
        }
        for one in coming {
            one.await??;
        }
    }
    println!("{entries} entries written in {:.0} s", began.elapsed().as_secs_f64());
    ask_all(&mailbox, entries).await?;
    drop(mailbox);
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

async fn ask_all(mailbox: &Mailbox, entries: u64) -> Result<(), Failure> {
    let (any, middle_ms) = (Query::default, START_MS + SPAN_MS / 2);
    let minute = Query { from_ms: Some(middle_ms), before_ms: Some(middle_ms + 60_000), ..any() };
    let old = Query { order: Order::OldestFirst, ..minute.clone() };
    ask(mailbox, "the newest 50, one page", Query { limit: 50, ..any() }, false).await?;
    ask(mailbox, "a minute in the middle", minute, true).await?;
    ask(mailbox, "the same, oldest first", old, true).await?;
    ask(mailbox, "the last hour", Query { from_ms: Some(START_MS + SPAN_MS - 3_600_000), ..any() }, true).await?;
    ask(mailbox, "a message by its id", Query { id: Some(id(entries / 3)), ..any() }, true).await?;
    ask(mailbox, "an id that is not there", Query { id: Some(id(entries)), ..any() }, true).await?;
    ask(mailbox, "a rare type, one page", Query { kind: Some("rare".parse()?), limit: 50, ..any() }, false).await?;
    ask(mailbox, "a rare type", Query { kind: Some("rare".parse()?), ..any() }, true).await?;
    ask(mailbox, "a session", Query { session: Some(SessionId([7; 16])), ..any() }, true).await?;
    ask(mailbox, "a text that is nowhere", Query { text: Some("coffee".into()), ..any() }, true).await
}

/// Asks for a page, or for all.
async fn ask(mailbox: &Mailbox, what: &str, query: Query, all: bool) -> Result<(), Failure> {
    let (mut found, mut looked_at, mut pages, mut most_ms, mut after) = (0, 0, 0u32, 0.0f64, None);
    let before_ms = processor_ms()?;
    loop {
        let page_before_ms = processor_ms()?;
        let page = mailbox.query(Query { after, ..query.clone() }).await?;
        most_ms = most_ms.max(processor_ms()? - page_before_ms);
        (found, looked_at, pages) = (found + page.entries.len(), looked_at + page.looked_at, pages + 1);
        after = page.next;
        if after.is_none() || !all {
            break;
        }
    }
    let took_ms = processor_ms()? - before_ms;
    println!(
        "{what:24}: {found:6} found, {looked_at:8} looked at, {pages:3} pages, {took_ms:8.1} ms of the processor, {most_ms:6.1} ms for a page at most"
    );
    Ok(())
}

/// Time that all threads of this process have run, in ms.
fn processor_ms() -> Result<f64, Failure> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let told = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += told.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e6)
}

fn id(number: u64) -> MessageId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    MessageId(id)
}

fn message(number: u64) -> Result<Arc<Envelope>, Failure> {
    let message = Message {
        id: id(number),
        kind: if number % 1_000 == 500 { "rare" } else { "usual" }.parse()?,
        session: Some(SessionId([u8::try_from(number % 250)?; 16])),
        sent_ms: START_MS,
        expires_ms: START_MS + SPAN_MS * 2,
        from: Sender { agent: OTHER, user: Some("ana".parse()?), session: None },
        to: Recipient::Agent(ME),
        in_reply_to: None,
        replay_of: None,
        body: Body::of_text(&"x".repeat(BODY_BYTES))?,
    };
    Ok(Arc::new(Envelope { message, ttl: 9, signature: [0; 64] }))
}
