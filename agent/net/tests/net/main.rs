//! Tests of the network from outside, in one binary.

#![allow(clippy::expect_used, reason = "helpers of tests fail the test they help")]

mod contract;
mod found;
mod lanes;
mod memory;
mod strangers;
mod tunnel_limits;
mod tunnels;
mod world;
