//! Bodies of answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use http_body::{Frame, SizeHint};

use crate::DoorStats;

/// Bytes as they come; an error ends the connection.
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The body of an answer. One whose length was announced and whose bytes end early is an error, so that the connection
/// breaks: a short body must never look whole.
pub(crate) struct Body {
    source: Source,
    stats: Option<Arc<DoorStats>>,
}

enum Source {
    Whole(Option<Bytes>),
    Stream { bytes: ByteStream, left_bytes: Option<u64> },
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { source: Source::Whole(None), stats: None }
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes: Bytes = bytes.into();
        Self { source: Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())), stats: None }
    }

    /// Bytes that come one by one, of a length known or not.
    pub(crate) fn stream(bytes: ByteStream, length_bytes: Option<u64>) -> Self {
        Self { source: Source::Stream { bytes, left_bytes: length_bytes }, stats: None }
    }

    /// Its length, where known before it is sent.
    pub(crate) fn length_bytes(&self) -> Option<u64> {
        match &self.source {
            Source::Whole(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Stream { left_bytes, .. } => *left_bytes,
        }
    }

    pub(crate) fn counted(mut self, stats: Arc<DoorStats>) -> Self {
        self.stats = Some(stats);
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match &mut self.source {
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Source::Stream { bytes, left_bytes } => {
                bytes.as_mut().poll_next(context).map(|next| check(next, left_bytes))
            }
        };
        if let (Poll::Ready(Some(Ok(bytes))), Some(stats)) = (&next, &self.stats) {
            stats.sent(bytes.len());
        }
        next.map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Whole(None) | Source::Stream { left_bytes: Some(0), .. })
    }

    fn size_hint(&self) -> SizeHint {
        self.length_bytes().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn check(next: Option<io::Result<Bytes>>, left_bytes: &mut Option<u64>) -> Option<io::Result<Bytes>> {
    let Some(left) = left_bytes else { return next };
    match next {
        Some(Ok(bytes)) => match left.checked_sub(bytes.len() as u64) {
            Some(less) => {
                *left = less;
                Some(Ok(bytes))
            }
            None => Some(Err(io::Error::other("more bytes came than were announced"))),
        },
        None if *left > 0 => {
            Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "fewer bytes came than were announced")))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body_util::BodyExt;

    use super::*;

    async fn collect(parts: &[&'static [u8]], length_bytes: Option<u64>) -> Result<Vec<u8>, String> {
        let parts: Vec<_> = parts.iter().map(|part| Ok(Bytes::from_static(part))).collect();
        let body = Body::stream(stream::iter(parts).boxed(), length_bytes);
        body.collect().await.map(|all| all.to_bytes().to_vec()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_announced_or_an_error() {
        assert_eq!(collect(&[b"ab", b"c"], Some(3)).await, Ok(b"abc".to_vec()));
        assert_eq!(collect(&[b"ab", b"c"], None).await, Ok(b"abc".to_vec()));
        assert!(collect(&[b"ab"], Some(3)).await.is_err());
        assert!(collect(&[b"ab", b"cd"], Some(3)).await.is_err());
    }
}
