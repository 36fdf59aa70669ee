//! 8. Memory is bounded: the queues of the cores stay within their limits.

use shoal_care::OrphanBook;
use shoal_ledger::limits::MOVES_LIMIT;
use shoal_ledger::query;

use crate::world::World;

const NAME: &str = "memory-bounded";

/// A sweep has written its book.
pub(crate) fn book(world: &mut World, book: &OrphanBook, limit: usize) {
    if book.len() > limit {
        world.fail(NAME, format!("a sweep remembers {} shards of at most {limit}", book.len()));
    }
}

/// What the ledger keeps of work under way.
pub(crate) fn ledger(world: &mut World) {
    let moves = query::moves(&world.log.latest()).map_or(0, |moves| moves.len());
    if moves > MOVES_LIMIT {
        world.fail(NAME, format!("{moves} moves are under way, {MOVES_LIMIT} may be"));
    }
}

/// Jobs a keeper has out at a time.
pub(crate) fn keeper(world: &mut World, jobs: usize, limit: usize) {
    if jobs > limit {
        world.fail(NAME, format!("a keeper has {jobs} jobs out, {limit} may be"));
    }
}
