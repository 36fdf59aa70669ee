//! Frames on a byte stream: reading straight into buffers of the announced size, writing many at a time.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::Lane;
use crate::frame::{HEADER_BYTES, Header, Kind};
use crate::limits::{GATHER_BYTES, STALL_TIMEOUT, WRITE_QUEUE_FRAMES};

/// Gathered bytes from which a batch is written out; the buffer is given back when it grew beyond.
const BATCH_BYTES: usize = 4 * GATHER_BYTES;

/// A frame to be written. `_held` lives until it is: places in queues, shares of budgets.
pub(crate) struct Frame<H = ()> {
    pub(crate) kind: Kind,
    pub(crate) lane: Lane,
    pub(crate) code: u16,
    pub(crate) id: u64,
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
    pub(crate) _held: H,
}

/// Head and body of a frame that was read.
pub(crate) struct Payload {
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("nothing moved for {} s", STALL_TIMEOUT.as_secs()))
}

/// Waits for the next header, however long that takes.
pub(crate) async fn read_header<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Header> {
    let mut bytes = [0; HEADER_BYTES];
    reader.read_exact(&mut bytes).await?;
    Header::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads what the header announced.
pub(crate) async fn read_payload<R: AsyncRead + Unpin>(reader: &mut R, header: &Header) -> io::Result<Payload> {
    let head = read_bytes(reader, header.head_bytes).await?;
    let body = read_bytes(reader, header.body_bytes).await?;
    Ok(Payload { head, body })
}

async fn read_bytes<R: AsyncRead + Unpin>(reader: &mut R, count: usize) -> io::Result<Bytes> {
    if count == 0 {
        return Ok(Bytes::new());
    }
    let mut buffer = BytesMut::with_capacity(count);
    while buffer.len() < count {
        let rest = count - buffer.len();
        let mut room = (&mut buffer).limit(rest);
        if timeout(STALL_TIMEOUT, reader.read_buf(&mut room)).await.map_err(|_| stalled())?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.freeze())
}

/// Writes frames as they come until the queue ends or the stream fails. Small ones that wait together leave
/// together; bodies of others are not copied. `wanted` is asked just before a frame is written.
pub(crate) async fn write_frames<W, H>(
    mut writer: W,
    mut frames: mpsc::Receiver<Frame<H>>,
    wanted: impl Fn(&Frame<H>) -> bool,
) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let mut batch = Vec::new();
    let mut gathered = BytesMut::new();
    while frames.recv_many(&mut batch, WRITE_QUEUE_FRAMES).await > 0 {
        for frame in batch.drain(..).filter(|frame| wanted(frame)) {
            gather_head(&mut gathered, &frame);
            if frame.body.len() <= GATHER_BYTES {
                gathered.put_slice(&frame.body);
            } else {
                write_all(&mut writer, gathered.split().chain(frame.body)).await?;
            }
            if gathered.len() >= BATCH_BYTES {
                write_all(&mut writer, gathered.split()).await?;
            }
        }
        if !gathered.is_empty() {
            write_all(&mut writer, gathered.split()).await?;
        }
        timeout(STALL_TIMEOUT, writer.flush()).await.map_err(|_| stalled())??;
        if gathered.capacity() > GATHER_BYTES {
            gathered = BytesMut::new();
        }
    }
    timeout(STALL_TIMEOUT, writer.shutdown()).await.map_err(|_| stalled())?
}

fn gather_head<H>(gathered: &mut BytesMut, frame: &Frame<H>) {
    let header = Header {
        kind: frame.kind,
        lane: frame.lane,
        code: frame.code,
        id: frame.id,
        head_bytes: frame.head.len(),
        body_bytes: frame.body.len(),
    };
    gathered.put_slice(&header.encode());
    gathered.put_slice(&frame.head);
}

async fn write_all<W: AsyncWrite + Unpin>(writer: &mut W, mut bytes: impl Buf) -> io::Result<()> {
    while bytes.has_remaining() {
        let written = timeout(STALL_TIMEOUT, writer.write_buf(&mut bytes)).await.map_err(|_| stalled())??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}
