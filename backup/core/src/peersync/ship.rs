//! Objects that travel along with a catalogue's tail, so that a holder that was away needs one exchange and no more.

use crate::catalogue::State;
use crate::object::Object;
use crate::order::Lacking;

/// Bytes that travel along with one tail, at most; the rest is fetched.
pub const SHIP_LIMIT_BYTES: u64 = 256 << 20;

/// What to send along to somebody who has all up to sequence `after` and may be sent `limit_bytes`: objects that came
/// later, are there still and that the sender `has`, in the order in which they may be taken. It ends before the first that
/// does not fit, so that what arrives is always a valid repository.
pub fn ship(state: &State, after: u64, limit_bytes: u64, has: impl Fn(&Object) -> bool) -> Vec<Object> {
    let mut left_bytes = limit_bytes.min(SHIP_LIMIT_BYTES);
    let mut later = Lacking::default();
    for (sequence, object) in state.from_sequence(after.saturating_add(1)) {
        later.insert(object, sequence, (sequence, *object));
    }
    let mut ordered: Vec<Object> = Vec::with_capacity(later.len());
    while !later.is_empty() {
        let ready: Vec<(u64, Object)> = later.ready().copied().collect();
        for (sequence, object) in ready {
            later.remove(&object, sequence);
            ordered.push(object);
        }
    }
    let fits = |object: &Object| {
        let fits = object.size_bytes <= left_bytes && has(object);
        left_bytes = left_bytes.saturating_sub(object.size_bytes);
        fits
    };
    ordered.into_iter().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::{object, owner};
    use crate::catalogue::{Catalogue, Op};
    use crate::object::ObjectKind;

    #[test]
    fn what_came_later_travels_along_as_far_as_it_may() {
        let mut catalogue = Catalogue::new(owner(1).0);
        let kinds = [ObjectKind::Config, ObjectKind::Pack, ObjectKind::Pack, ObjectKind::Index, ObjectKind::Key];
        let things: Vec<Object> = (0..).zip(kinds).map(|(number, kind)| object(number, kind, 1)).collect();
        things.iter().for_each(|thing| _ = catalogue.append(&owner(1), 0, Op::Add(*thing)).unwrap());
        let sizes = |after, limit| -> Vec<u64> {
            ship(catalogue.state(), after, limit, |_| true).iter().map(|object| object.size_bytes - 100).collect()
        };
        assert_eq!(sizes(0, u64::MAX), [0, 4, 1, 2, 3]);
        assert_eq!(sizes(2, u64::MAX), [4, 2, 3]);
        assert_eq!(sizes(2, 104 + 102), [4, 2]);
        assert_eq!(sizes(2, 104 + 101), [4]);
        assert_eq!(ship(catalogue.state(), 0, u64::MAX, |object| object.kind != ObjectKind::Pack).len(), 2);
    }
}
