//! Buffers for whole shards, used again: fresh memory costs a page fault, or zeros, for every page of every shard.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers kept while nobody uses them.
const KEPT_BUFFERS: usize = 4;
/// A buffer larger than this is not kept: two data shards and more make shards that fit.
const KEPT_BUFFER_BYTES: usize = 2 * 1024 * 1024 + 64 * 1024;

/// Buffers of a store that nobody uses now. What is in them is what was there last.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// One with room for so many bytes.
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match kept {
            Some(buffer) if buffer.capacity() >= bytes => buffer,
            _ => Vec::with_capacity(bytes),
        }
    }

    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_BUFFERS && buffer.capacity() <= KEPT_BUFFER_BYTES {
            kept.push(buffer);
        }
    }

    /// The bytes of a buffer, which comes back when the last who has some of them is done.
    pub(crate) fn share(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Shared { buffer, home: self.clone() })
    }
}

struct Shared {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(buffers: &Buffers) -> usize {
        buffers.0.lock().expect("not poisoned").len()
    }

    #[test]
    fn a_shared_buffer_comes_back_when_its_last_slice_is_gone() {
        let buffers = Buffers::default();
        let bytes = buffers.share(vec![7; 1000]);
        let slice = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(kept(&buffers), 0);
        assert_eq!(slice[..], [7; 10]);
        drop(slice);
        assert_eq!(kept(&buffers), 1);
        assert!(buffers.take(1000).capacity() >= 1000);
        assert_eq!(kept(&buffers), 0);
    }

    #[test]
    fn no_more_is_kept_than_the_limits_say() {
        let buffers = Buffers::default();
        buffers.give_back(Vec::with_capacity(KEPT_BUFFER_BYTES + 1));
        assert_eq!(kept(&buffers), 0);
        for _ in 0..KEPT_BUFFERS + 3 {
            buffers.give_back(vec![0; 10]);
        }
        assert_eq!(kept(&buffers), KEPT_BUFFERS);
    }
}
