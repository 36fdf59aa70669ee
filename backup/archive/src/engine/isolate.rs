//! The fence round the engine: each call on a thread of its own, and what panics there is an error here.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::error::ArchiveError;

/// Stack of such a thread. The engine parses folders recursively only as deep as JSON goes, but decompresses on the stack.
pub(super) const STACK_BYTES: usize = 8 << 20;

/// Runs `call` on a thread of its own.
pub(crate) fn isolated<T: Send>(
    what: &'static str,
    call: impl FnOnce() -> Result<T, ArchiveError> + Send,
) -> Result<T, ArchiveError> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("archive".to_owned()).stack_size(STACK_BYTES);
        let thread = builder.spawn_scoped(scope, || fenced(what, call));
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| Err(panicked(what, &*panic))),
            Err(error) => Err(ArchiveError::Engine { what, why: format!("no thread could be started: {error}") }),
        }
    })
}

/// Runs `call` on this thread; a panic becomes an error.
pub(super) fn fenced<T>(what: &'static str, call: impl FnOnce() -> Result<T, ArchiveError>) -> Result<T, ArchiveError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(what, &*panic)))
}

fn panicked(what: &'static str, panic: &(dyn Any + Send)) -> ArchiveError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let why = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".to_owned());
    tracing::error!(what, why, "the backup engine panicked");
    ArchiveError::Panicked { what, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let found = isolated::<()>("try", || panic!("{}", "bad luck"));
        assert!(matches!(found, Err(ArchiveError::Panicked { what: "try", why }) if why == "bad luck"));
        assert_eq!(isolated("try", || Ok(1)).unwrap(), 1);
    }
}
