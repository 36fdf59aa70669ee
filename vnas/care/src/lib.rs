//! What keeps a volume whole: who is there, what is to be rebuilt, moved, cut anew and dropped.
//!
//! Pure: events and the time go in, effects come out. The agent carries them out on real disks and networks, the simulation
//! on seeded ones.

mod facts;

pub use facts::{AgentFacts, Duty};
