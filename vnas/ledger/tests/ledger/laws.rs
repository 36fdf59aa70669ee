//! Random commands against the naive model.
