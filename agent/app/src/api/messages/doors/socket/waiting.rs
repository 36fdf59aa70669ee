//! Lines on their way to a program that may read slowly: what waits is bounded in number and in bytes.
//!
//! The calls of a connection write their lines one after the other: one is made when its turn comes, and the next turn when there is
//! room for it. So besides what waits there is at most one line, however many calls are under way.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Lines that wait to be written, at most.
const WAITING_LIMIT: usize = 64;
/// KiB of them, about; a line that has more goes when nothing else waits. With that of all connections a quarter of a GiB.
const WAITING_LIMIT_KIB: u32 = 4 * 1024;

/// Where the lines of a connection go in.
#[derive(Clone)]
pub(super) struct Waiting {
    lines: mpsc::Sender<Told>,
    turn: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

/// A line on its way out.
pub(super) struct Told {
    pub(super) line: String,
    /// Its part of the room, until it is written.
    _room: OwnedSemaphorePermit,
    /// Its place among the pages of the log in memory.
    _place: Option<OwnedSemaphorePermit>,
}

/// Both ends.
pub(super) fn waiting() -> (Waiting, mpsc::Receiver<Told>) {
    let (lines, told) = mpsc::channel(WAITING_LIMIT);
    let room = Arc::new(Semaphore::new(WAITING_LIMIT_KIB as usize));
    (Waiting { lines, turn: Arc::new(Semaphore::new(1)), room }, told)
}

impl Waiting {
    /// Has a line written once there is room. Answers whether there is still somebody to tell.
    pub(super) async fn tell(&self, line: &impl Serialize, place: Option<OwnedSemaphorePermit>) -> bool {
        let Ok(_turn) = self.turn.acquire().await else { return false };
        // All of it can be written as JSON; what cannot would be a fault of ours.
        let mut line = serde_json::to_string(line).unwrap_or_default();
        line.push('\n');
        let kib = u32::try_from(line.len() / 1024 + 1).unwrap_or(u32::MAX).min(WAITING_LIMIT_KIB);
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(kib) => room,
            () = self.lines.closed() => return false,
        };
        let Ok(room) = room else { return false };
        self.lines.send(Told { line, _room: room, _place: place }).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Bytes of a line, about.
    const LINE_BYTES: usize = 300 * 1024;
    const CALLS: usize = 40;

    /// Says how often it was made a line.
    #[derive(Clone)]
    struct Counted(Arc<AtomicUsize>, usize);

    impl Serialize for Counted {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.fetch_add(1, Ordering::SeqCst);
            serializer.serialize_str(&"x".repeat(self.1))
        }
    }

    /// Lets all tasks go on until none can: there is one thread.
    async fn settle() {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn lines_for_a_slow_reader_are_bounded_in_bytes_and_none_is_lost() {
        let (waiting, mut told) = waiting();
        let made = Arc::new(AtomicUsize::new(0));
        for _ in 0..CALLS {
            let (waiting, line) = (waiting.clone(), Counted(made.clone(), LINE_BYTES));
            tokio::spawn(async move { waiting.tell(&line, None).await });
        }
        settle().await;
        let (made_bytes, limit) = (made.load(Ordering::SeqCst) * LINE_BYTES, WAITING_LIMIT_KIB as usize * 1024);
        assert!(made_bytes > limit / 2, "only {made_bytes} bytes are made ready");
        assert!(made_bytes <= limit + LINE_BYTES, "{made_bytes} bytes wait for a reader that does not read");
        for number in 0..CALLS {
            settle().await;
            let line = told.try_recv().unwrap_or_else(|_| panic!("line {number} is not there"));
            assert_eq!(line.line.len(), LINE_BYTES + 3, "with its quotes and its end");
        }
        assert!(told.try_recv().is_err());
    }

    #[tokio::test]
    async fn short_lines_are_bounded_in_number_and_a_line_larger_than_the_room_goes_alone() {
        let (waiting, mut told) = waiting();
        let made = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 * WAITING_LIMIT {
            let (waiting, line) = (waiting.clone(), Counted(made.clone(), 1));
            tokio::spawn(async move { waiting.tell(&line, None).await });
        }
        settle().await;
        assert_eq!(made.load(Ordering::SeqCst), WAITING_LIMIT + 1);
        for _ in 0..2 * WAITING_LIMIT {
            assert!(told.recv().await.is_some());
        }
        let large = Counted(made, 2 * WAITING_LIMIT_KIB as usize * 1024);
        let (first, second) = (waiting.clone(), large.clone());
        tokio::spawn(async move { first.tell(&large, None).await });
        let telling = tokio::spawn(async move { waiting.tell(&second, None).await });
        settle().await;
        assert!(told.try_recv().is_ok());
        settle().await;
        assert!(told.try_recv().is_ok());
        assert!(telling.await.expect("no panic"));
    }

    #[tokio::test]
    async fn who_waits_for_room_is_told_when_the_reader_has_gone() {
        let (waiting, told) = waiting();
        let line = Counted(Arc::default(), WAITING_LIMIT_KIB as usize * 1024);
        assert!(waiting.tell(&line, None).await);
        let telling = tokio::spawn(async move { waiting.tell(&line, None).await });
        settle().await;
        assert!(!telling.is_finished());
        drop(told);
        // What had been taken in goes with it.
        assert!(!telling.await.expect("no panic"));
    }
}
