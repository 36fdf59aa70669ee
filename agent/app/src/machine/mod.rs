//! The machine this agent runs on: whether it slept, what else it has to do, how long its disks will last.

mod background;
mod load;
mod wake;

pub use background::{Background, Turn};
pub use load::{Foreground, LoadSource, SystemLoad};
pub(crate) use wake::WakeWatch;
pub use wake::{Wake, Woken};
