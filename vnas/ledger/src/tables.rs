//! The tables: key layouts and row codecs.
