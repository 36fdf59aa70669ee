//! A naive namespace to compare with: a map of paths.
