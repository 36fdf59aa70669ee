//! What somebody asks for while a restore is under way goes first.

/// What goes first. Asked between two files of a restore, on its thread.
pub trait First: Send {
    /// Whether something waits.
    fn waits(&mut self) -> bool;

    /// Does it. What is restored until now is in its place, and nothing else is done meanwhile.
    fn run(&mut self);
}

/// Nothing goes first.
pub(super) struct Nothing;

impl First for Nothing {
    fn waits(&mut self) -> bool {
        false
    }

    fn run(&mut self) {}
}
