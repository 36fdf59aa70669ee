//! The single copy the real thing is compared with: a few registers, changed by one operation at a time.

use super::{Action, Condition, Outcome, PATHS_LIMIT, Path, Value};

/// What a register holds that holds nothing.
const NOTHING: Value = 0;
/// Stands for every value nobody will ask for any more.
pub(super) const FORGOTTEN: Value = u64::MAX;

/// What all paths of a group hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct State([Value; PATHS_LIMIT]);

impl State {
    fn at(&self, path: Path) -> Value {
        self.0.get(usize::from(path)).copied().unwrap_or(NOTHING)
    }

    fn with(mut self, path: Path, value: Value) -> Self {
        if let Some(register) = self.0.get_mut(usize::from(path)) {
            *register = value;
        }
        self
    }

    fn has(&self, path: Path) -> bool {
        self.at(path) != NOTHING
    }

    fn holds(&self, path: Path, condition: Condition) -> bool {
        match condition {
            Condition::None => true,
            Condition::Absent => !self.has(path),
            Condition::Is(value) => self.at(path) == value,
        }
    }

    fn existing(&self) -> u8 {
        self.0.iter().enumerate().filter(|(_, value)| **value != NOTHING).fold(0, |bits, (path, _)| bits | 1 << path)
    }

    /// The same with every value replaced by what stands for it.
    pub(super) fn map(self, stands_for: impl Fn(Value) -> Value) -> Self {
        Self(self.0.map(|value| if value == NOTHING { NOTHING } else { stands_for(value) }))
    }

    /// What this operation leaves if it happens now; `None` if, happening now, it would have been answered otherwise.
    /// An operation of unknown outcome that could only fail now is answered `None` too: it might as well never happen.
    pub(super) fn after(self, action: &Action, outcome: &Outcome) -> Option<Self> {
        let unknown = *outcome == Outcome::Unknown;
        match (*action, *outcome) {
            (Action::Read { path }, Outcome::Found(value)) => {
                (self.at(path) == value.unwrap_or(NOTHING)).then_some(self)
            }
            (Action::Read { path }, Outcome::Exists) => self.has(path).then_some(self),
            (Action::List, Outcome::Listed(paths)) => (self.existing() == paths).then_some(self),
            (Action::Write { path, condition, .. }, Outcome::Refused) => (!self.holds(path, condition)).then_some(self),
            (Action::Write { path, value, condition }, Outcome::Done | Outcome::Unknown) => {
                self.holds(path, condition).then(|| self.with(path, value))
            }
            (Action::Delete { path } | Action::Move { from: path, .. }, Outcome::Missing) => {
                (!self.has(path)).then_some(self)
            }
            (Action::Delete { path }, Outcome::Done | Outcome::Unknown) => {
                self.has(path).then(|| self.with(path, NOTHING))
            }
            (Action::Move { to, overwrite, .. }, Outcome::Refused) => (!overwrite && self.has(to)).then_some(self),
            (Action::Move { from, to, overwrite }, Outcome::Done | Outcome::Unknown) => {
                let possible = self.has(from) && (overwrite || !self.has(to));
                possible.then(|| self.with(to, self.at(from)).with(from, NOTHING))
            }
            // An answer that does not go with the question constrains nothing.
            _ => (!unknown).then_some(self),
        }
    }
}

/// Whether an operation, happening, changes anything.
pub(super) fn changes(action: &Action, outcome: &Outcome) -> bool {
    matches!(action, Action::Write { .. } | Action::Delete { .. } | Action::Move { .. })
        && matches!(outcome, Outcome::Done | Outcome::Unknown)
}

/// The values an answer or a condition speaks of.
pub(super) fn mentioned(action: &Action, outcome: &Outcome) -> Option<Value> {
    match (action, outcome) {
        (Action::Read { .. }, Outcome::Found(value)) => *value,
        (Action::Write { condition: Condition::Is(value), .. }, _) => Some(*value),
        _ => None,
    }
}
