//! Bytes that neither compress nor repeat, the same for the same seed.

/// An endless stream of bytes (SplitMix64).
#[derive(Debug, Clone)]
pub struct RandomBytes {
    state: u64,
}

impl RandomBytes {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03 }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Fills a buffer with the next bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    /// The next `length_bytes` bytes.
    #[must_use]
    pub fn take(&mut self, length_bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0; length_bytes];
        self.fill(&mut buffer);
        buffer
    }
}
