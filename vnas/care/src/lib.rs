//! What keeps a volume whole: who is there, what is to be rebuilt, moved, cut anew and dropped.
//!
//! Pure: events and the time go in, effects come out. The agent carries them out on real disks and networks, the simulation
//! on seeded ones.
//!
//! ```text
//! presence                      who answers, who is absent; standing: how far each can be relied on
//! facts ─ situation ─ need      what one stripe needs, as its holders are
//!           └ balance, sweep    which of all stripes need something, the most pressing first
//!               └ keeper        has it done: announce, copy, finish; or cut anew
//! pace, sleep, debt             how fast all that may go on; whether this machine was away; what its owner is owed
//! cleaning                      has what nobody counts on dropped, on proof
//! scrub                         when a store reads which of its shards again
//! dropping, orphans             when a holder may drop a shard: on order, or because nobody ever named it
//! plan                          what the keeper would do, without doing it
//! ```

mod balance;
mod cleaning;
pub mod debt;
mod dropping;
mod facts;
mod keeper;
mod need;
mod orphans;
pub mod pace;
mod plan;
pub mod presence;
pub mod scrub;
mod situation;
pub mod sleep;
pub mod standing;
mod sweep;

pub use cleaning::{CleaningGrace, Droppable, droppable};
pub use dropping::{Kept, drop_on_order, drop_orphan};
pub use facts::{AgentFacts, Duty};
pub use keeper::{Done, Effect, Keeper, KeeperConfig, Progress, RebuildJob, RecutJob, Ticket};
pub use need::{Need, Reason, bad_places, need};
pub use orphans::{LOOKS, OrphanBook, OrphanLook, OrphanRules, Unnamed};
pub use plan::plan;
pub use presence::{
    AgentHealth, HealthView, Patience, Presence, PresenceCore, PresenceEvent, Room, SelfReport, Suspicions,
};
pub use situation::{COPIES_LIMIT_BYTES, Situation, Wanted};
pub use standing::Standing;
pub use sweep::{Findings, QUEUE_LIMIT, Tally};
