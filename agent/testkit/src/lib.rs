//! Real pools for tests and benchmarks.
//!
//! [`DemoPool`] starts `shoal demo` as a user would, reads its `demo.json`, and does to its agents what bad luck
//! does: `kill -9`, SIGSTOP, SIGCONT. [`AgentProcess`] is one agent started by `shoal up` or `shoal join`, for pools a
//! demo cannot make; [`SmallDisk`] is a disk to fill. [`HttpClient`] speaks HTTP/1.1 over one kept connection with nothing hidden;
//! [`process`] reads CPU time and memory from `/proc`; [`RandomBytes`] makes bytes that neither compress nor repeat.
//! [`history`] records what clients did and were told, and judges whether it is linearizable.

mod agent;
mod demo;
mod disk;
pub mod history;
mod http;
pub mod process;
mod random;
mod wait;

pub use agent::{AgentOptions, AgentProcess, start_pool, wait_until_settled};
pub use demo::{DemoAgent, DemoInfo, DemoOptions, DemoPool, free_port_base};
pub use disk::SmallDisk;
pub use http::{Connector, HttpClient, HttpResponse, NotConnected};
pub use random::RandomBytes;
pub use wait::wait_until;
