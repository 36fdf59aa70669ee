//! Copies that this agent holds for others.
