//! The Shoal agent as a library.
