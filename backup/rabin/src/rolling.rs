//! The hash of the last bytes, which follows them byte by byte.

use std::sync::Arc;

use crate::polynomial::Polynom64;
use crate::tables::Tables;

/// The largest window that is given, as a power of two.
const MAX_WINDOW_BITS: u32 = 16;

/// A hash of a window of bytes that moves on by one byte at a time.
pub trait RollingHash64 {
    /// As new: a window of zeros.
    fn reset(&mut self);

    /// Takes bytes in, one fewer than the window has, and says how many there were.
    fn prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize;

    /// Both of these.
    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize;

    /// Takes a byte in; the oldest one leaves.
    fn slide(&mut self, byte: u8);

    /// The hash of what is in the window.
    fn get_hash(&self) -> &Polynom64;
}

/// Rabin's fingerprint: the window's bytes, as one polynomial, modulo an irreducible one.
#[derive(Debug, Clone)]
pub struct Rabin64 {
    tables: Arc<Tables>,
    /// As long as a power of two says.
    window: Vec<u8>,
    /// Where the oldest byte of it is.
    oldest: usize,
    /// The hash of it.
    pub hash: Polynom64,
}

impl Rabin64 {
    /// For a window of 2 to the power of `window_size_nb_bits` bytes (16 at most), with this modulus.
    #[must_use]
    pub fn new_with_polynom(window_size_nb_bits: u32, mod_polynom: &Polynom64) -> Self {
        let window_bytes = 1 << window_size_nb_bits.min(MAX_WINDOW_BITS);
        let tables = Tables::of(window_bytes, *mod_polynom);
        Self { tables, window: vec![0; window_bytes], oldest: 0, hash: 0 }
    }

    /// A byte comes in where the oldest one was, which has left the hash.
    #[inline]
    fn take_in(&mut self, byte: u8) {
        self.window[self.oldest] = byte;
        self.oldest = (self.oldest + 1) & (self.window.len() - 1);
        let overflowing = (self.hash >> self.tables.shift) as u8;
        self.hash = (self.hash << 8 | Polynom64::from(byte)) ^ self.tables.overflowing[usize::from(overflowing)];
    }
}

impl RollingHash64 for Rabin64 {
    fn reset(&mut self) {
        self.window.fill(0);
        self.oldest = 0;
        self.hash = 0;
    }

    fn prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize {
        let most = self.window.len() - 1;
        bytes.take(most).map(|byte| self.slide(byte)).count()
    }

    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize {
        self.reset();
        self.prefill_window(bytes)
    }

    #[inline]
    fn slide(&mut self, byte: u8) {
        let leaving = self.window[self.oldest];
        self.hash ^= self.tables.leaving[usize::from(leaving)];
        self.take_in(byte);
    }

    #[inline]
    fn get_hash(&self) -> &Polynom64 {
        &self.hash
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Polynom as _;

    /// An irreducible one, of restic's degree.
    const MODULUS: Polynom64 = 0x003D_A335_8B4D_C173;

    /// As it is defined, without tables.
    fn by_definition(window: &[u8]) -> Polynom64 {
        window.iter().fold(0, |hash: Polynom64, byte| (hash << 8 | Polynom64::from(*byte)).modulo(&MODULUS))
    }

    proptest! {
        #[test]
        fn it_is_the_hash_of_the_last_bytes_whatever_was_before(
            bytes in proptest::collection::vec(any::<u8>(), 1..400),
            window_bits in 1..8_u32,
        ) {
            let mut rolling = Rabin64::new_with_polynom(window_bits, &MODULUS);
            for end in 1..=bytes.len() {
                rolling.slide(bytes[end - 1]);
                let window = &bytes[end.saturating_sub(1 << window_bits)..end];
                prop_assert_eq!(*rolling.get_hash(), by_definition(window));
            }
        }

        #[test]
        fn begun_anew_it_has_all_but_one_of_the_bytes_and_goes_on_from_there(
            before in proptest::collection::vec(any::<u8>(), 0..100),
            bytes in proptest::collection::vec(any::<u8>(), 64..200),
        ) {
            let mut rolling = Rabin64::new_with_polynom(6, &MODULUS);
            before.iter().for_each(|byte| rolling.slide(*byte));
            let taken = rolling.reset_and_prefill_window(&mut bytes.iter().copied());
            prop_assert_eq!((taken, rolling.hash), (63, by_definition(&bytes[..63])));
            for end in 64..=bytes.len() {
                rolling.slide(bytes[end - 1]);
                prop_assert_eq!(rolling.hash, by_definition(&bytes[end - 64..end]));
            }
        }
    }

    #[test]
    fn too_few_bytes_are_hashed_as_they_are() {
        let mut rolling = Rabin64::new_with_polynom(6, &MODULUS);
        assert_eq!(rolling.reset_and_prefill_window(&mut [1, 2, 3].into_iter()), 3);
        assert_eq!(rolling.hash, by_definition(&[1, 2, 3]));
    }
}
