//! The machine this agent runs on: whether it slept, what else it has to do, how long its disks will last.

mod background;
mod checkup;
mod devices;
mod load;
mod metered_store;
mod smart;
mod wake;

pub use background::{Background, Turn};
pub(crate) use checkup::{Checkup, OwnStores};
pub use load::{Foreground, LoadSource, SystemLoad};
pub(crate) use metered_store::{MeteredStore, StoreMeter};
pub use smart::SmartConfig;
pub(crate) use wake::WakeWatch;
pub use wake::{Wake, Woken};
