//! Copies bytes both ways between the two ends of a tunnel, which are looked at by nobody.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use crate::limits::TUNNEL_COPY_BYTES;

/// When something last came through.
struct Moved(Mutex<Instant>);

impl Moved {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing has come through for `idle`.
    async fn idle(&self, idle: Duration) {
        loop {
            let until = self.at() + idle;
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// Copies until both ends are done, one breaks, or nothing came through for `idle`.
pub(crate) async fn pipe<A, B>(one: A, other: B, idle: Duration) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let moved = Moved(Mutex::new(Instant::now()));
    let (from_one, to_one) = tokio::io::split(one);
    let (from_other, to_other) = tokio::io::split(other);
    tokio::select! {
        copied = async { tokio::try_join!(copy(from_one, to_other, &moved), copy(from_other, to_one, &moved)) } => {
            copied.map(|_| ())
        }
        () = moved.idle(idle) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came through")),
    }
}

/// One way. What was not taken at the other end is not read on: the two ends set the pace.
async fn copy<R, W>(mut from: R, mut to: W, moved: &Moved) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; TUNNEL_COPY_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
        moved.note();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_goes_out_at_the_other_end_until_one_is_done() {
        let (mut near, near_end) = tokio::io::duplex(100);
        let (mut far, far_end) = tokio::io::duplex(7);
        let piping = tokio::spawn(pipe(near_end, far_end, IDLE));
        near.write_all(b"there and ").await.expect("writes");
        let mut bytes = [0; 10];
        far.read_exact(&mut bytes).await.expect("reads");
        assert_eq!(&bytes, b"there and ");
        far.write_all(b"back").await.expect("writes");
        near.read_exact(&mut bytes[..4]).await.expect("reads");
        assert_eq!(&bytes[..4], b"back");
        drop(near);
        assert_eq!(far.read(&mut bytes).await.expect("ends"), 0);
        drop(far);
        piping.await.expect("no panic").expect("ended well");
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_does_not_read_stops_the_other_and_idleness_ends_both() {
        let (mut near, near_end) = tokio::io::duplex(100);
        let (_far, far_end) = tokio::io::duplex(100);
        let piping = tokio::spawn(pipe(near_end, far_end, IDLE));
        let written = tokio::time::timeout(IDLE / 2, near.write_all(&vec![0; 2 * TUNNEL_COPY_BYTES])).await;
        assert!(written.is_err(), "more was taken than there is room for");
        let ended = piping.await.expect("no panic").expect_err("ended");
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    }
}
