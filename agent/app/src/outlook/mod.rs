//! What would be, and what is to come: told before anything is done.
//!
//! `switch_off`: what one agent's absence would mean. `drain`: how far the emptying of an agent is. `plan`: what the keeper
//! would do. `loss`: what striking an agent off would cost. The first two are pure and part of every status report; the
//! others look at every stripe and are made when somebody asks, one at a time.

pub(crate) mod drain;
pub(crate) mod loss;
pub(crate) mod plan;
pub(crate) mod switch_off;

pub use drain::DrainStatus;
pub use loss::RemovalLoss;
pub use plan::{DrainPlan, RepairPlan};
pub use switch_off::{MakeSafe, SwitchOff};
