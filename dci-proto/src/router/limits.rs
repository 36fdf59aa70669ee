//! How much a router remembers.

/// How much a router remembers, at most. What is over a limit is forgotten, oldest first: then a copy may be sent on once
/// more, or a message flooded whose way was known. Nothing is delivered twice by that, and nothing grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterLimits {
    /// Neighbours; further ones are not sent to until one goes.
    pub links: usize,
    /// Messages that passed.
    pub seen: usize,
    /// How long a message that passed is remembered, in ms.
    pub seen_life_ms: u64,
    /// Ways to agents that are no neighbours.
    pub routes: usize,
    /// How long a way is believed in after something came over it, in ms.
    pub route_life_ms: u64,
    /// Raises that came before the copy they are about.
    pub early_raises: usize,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self {
            links: 512,
            seen: 32_768,
            seen_life_ms: 10 * 60 * 1_000,
            routes: 8_192,
            route_life_ms: 5 * 60 * 1_000,
            early_raises: 256,
        }
    }
}
