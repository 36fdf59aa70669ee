//! The backup of this PC.
