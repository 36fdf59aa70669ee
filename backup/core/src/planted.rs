//! Bugs that tests plant, to see that the laws of the simulation find them. Outside of tests there are none.

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Copies take objects in any order.
    AnyOrder,
    /// Time away counts in full, whatever the clock shows.
    TrustsClock,
    /// What was sent counts as held.
    CountsSent,
    /// A liar's word counts again at once.
    TrustsLiars,
    /// What is added for an archive in the making may go.
    DropsTheMaking,
    /// A holder drops old objects though it has not got the new ones yet. Too rare for the simulation; a test of copies finds it.
    DropsEarly,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether a test planted this bug in this thread.
#[cfg(test)]
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(test))]
pub(crate) const fn has(_bug: Bug) -> bool {
    false
}

/// Does something with a bug planted.
#[cfg(test)]
pub(crate) fn with<T>(bug: Bug, act: impl FnOnce() -> T) -> T {
    PLANTED.set(Some(bug));
    let result = act();
    PLANTED.set(None);
    result
}
