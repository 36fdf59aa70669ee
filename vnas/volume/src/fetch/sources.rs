//! The agents a stripe can be read from.

use dci_proto::AgentId;
use shoal_ledger::StripeRecord;
use shoal_placement::read_order;

use crate::shared::Shared;

/// Decoding takes less time than it takes to wait for data from an agent whose small answers take longer than this.
const QUICK_US: u32 = 20_000;

/// An agent that should have a shard.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) index: u8,
    pub(super) agent: AgentId,
    pub(super) suspect: bool,
    /// No suspect, and quick enough that data from it is better than parity from somebody quicker.
    pub(super) well: bool,
    pub(super) asked_column: bool,
    /// It takes longer than usual: others are asked first.
    pub(super) late: bool,
    pub(super) failed: bool,
}

/// The agents that should have a shard of the stripe, best first.
pub(super) fn sources(shared: &Shared, record: &StripeRecord) -> Vec<Source> {
    let candidates = shared.peers.candidates();
    let places: Vec<(u8, AgentId)> =
        (0u8..).zip(&record.shards).filter_map(|(index, place)| Some((index, place.agent?))).collect();
    let order = read_order(&places, &candidates, record.k);
    let source = |(rank, index): (usize, u8)| {
        let (_, agent) = *places.iter().find(|(of, _)| *of == index)?;
        let candidate = candidates.iter().find(|candidate| candidate.agent == agent)?;
        let quick = rank < usize::from(record.k) || candidate.latency_us <= QUICK_US;
        let well = quick && !candidate.suspect;
        Some(Source { index, agent, suspect: candidate.suspect, well, asked_column: false, late: false, failed: false })
    };
    order.into_iter().enumerate().filter_map(source).collect()
}
