//! What the hash looks up for each byte that comes into its window and each that leaves it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::polynomial::{Polynom as _, Polynom64};

/// A repository has one polynomial; an agent works on few repositories.
const KEPT: usize = 16;

/// The tables made last, the newest last.
static MADE: Mutex<Vec<Arc<Tables>>> = Mutex::new(Vec::new());

/// Both tables for a window and a modulus.
pub(crate) struct Tables {
    window_bytes: usize,
    modulus: Polynom64,
    /// What a byte that is about to leave has added to the hash.
    pub(crate) leaving: [Polynom64; 256],
    /// What takes away the eight highest bits, those above the modulus' degree too, and adds what is left of them.
    pub(crate) overflowing: [Polynom64; 256],
    /// Where these eight bits begin.
    pub(crate) shift: u32,
}

impl fmt::Debug for Tables {
    /// Without the numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("window_bytes", &self.window_bytes).finish_non_exhaustive()
    }
}

impl Tables {
    /// Those for this window and modulus, made if they are not there yet.
    pub(crate) fn of(window_bytes: usize, modulus: Polynom64) -> Arc<Self> {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let found = made.iter().find(|tables| tables.window_bytes == window_bytes && tables.modulus == modulus);
        if let Some(tables) = found {
            return Arc::clone(tables);
        }
        let tables = Arc::new(Self::make(window_bytes, modulus));
        if made.len() >= KEPT {
            made.remove(0);
        }
        made.push(Arc::clone(&tables));
        tables
    }

    fn make(window_bytes: usize, modulus: Polynom64) -> Self {
        let degree = modulus.degree().unsigned_abs();
        let mut tables =
            Self { window_bytes, modulus, leaving: [0; 256], overflowing: [0; 256], shift: degree.saturating_sub(8) };
        for (byte, (leaving, overflowing)) in (0..).zip(tables.leaving.iter_mut().zip(tables.overflowing.iter_mut())) {
            // The oldest byte of a full window has been moved on by all the others.
            *leaving = (1..window_bytes).fold(byte, |hash: Polynom64, _| (hash << 8).modulo(&modulus));
            let high = byte << degree.min(Polynom64::BITS - 1);
            *overflowing = high.modulo(&modulus) | high;
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_made_once_and_so_many_are_kept() {
        let first = Tables::of(64, 0x0030_0000_0000_0001);
        assert!(Arc::ptr_eq(&first, &Tables::of(64, 0x0030_0000_0000_0001)));
        assert!(!Arc::ptr_eq(&first, &Tables::of(32, 0x0030_0000_0000_0001)));
        (0..KEPT as u64 + 3).for_each(|low| drop(Tables::of(64, 0x0020_0000_0000_0000 | low)));
        assert!(MADE.lock().is_ok_and(|made| made.len() == KEPT));
    }

    #[test]
    fn no_modulus_makes_it_panic() {
        for modulus in [0, 1, 2, 255, u64::MAX, 1 << 63] {
            drop(Tables::of(2, modulus));
        }
    }
}
