//! Recovery over a pool in memory.
