//! Real pools for tests and benchmarks.
//!
//! [`DemoPool`] starts `shoal demo` as a user would, reads its `demo.json`, and does to its agents what bad luck
//! does: `kill -9`, SIGSTOP, SIGCONT. [`HttpClient`] speaks HTTP/1.1 over one kept connection with nothing hidden;
//! [`process`] reads CPU time and memory from `/proc`; [`RandomBytes`] makes bytes that neither compress nor repeat.

mod demo;
mod http;
pub mod process;
mod random;
mod wait;

pub use demo::{DemoAgent, DemoInfo, DemoOptions, DemoPool, free_port_base};
pub use http::{HttpClient, HttpResponse};
pub use random::RandomBytes;
pub use wait::wait_until;
