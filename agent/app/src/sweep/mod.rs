//! Which addresses are asked when somebody looks for agents by address, and when each is: hundreds in seconds, and none of
//! anybody else's network unless told to. Pure: addresses, events and the time in, effects out.
//!
//! ```text
//! words ─ Target ─► Plan (own networks, limit, order) ─► Sweep ⇄ shell: ask · wake · done
//! ```

mod pacing;
mod plan;
mod subnet;
mod target;

pub(crate) use pacing::{Effect, Event, Pace, Progress, Sweep};
pub(crate) use plan::{Places, Plan};
pub(crate) use subnet::Subnet;
pub(crate) use target::Target;
