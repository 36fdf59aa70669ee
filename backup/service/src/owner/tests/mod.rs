//! The owner with real archives, a pool in memory and holders.
