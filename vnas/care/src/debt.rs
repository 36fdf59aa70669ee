//! What an agent owes the owner of its disks: room that shards take of the owner's reserve.

/// A debt smaller than this part of the reserve is let pass until it grows: free space goes up and down all day.
const SLACK_PART: u64 = 64;

/// A store and the file system it lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOnDisk {
    /// Which file system; stores with the same number share one.
    pub file_system: u64,
    /// Bytes free on it.
    pub free_bytes: u64,
    /// Bytes of it that are to stay free for its owner.
    pub reserve_bytes: u64,
    /// Bytes the shards of this store use.
    pub used_bytes: u64,
}

/// Bytes to be given back: of each file system what its free space falls short of the reserve, not more than shards use
/// on it. `owing`: whether anything was owed before; a debt once begun is paid in full.
#[must_use]
pub fn owed_bytes(stores: &[StoreOnDisk], owing: bool) -> u64 {
    let mut file_systems: Vec<StoreOnDisk> = Vec::new();
    for store in stores {
        match file_systems.iter_mut().find(|known| known.file_system == store.file_system) {
            Some(known) => {
                known.used_bytes = known.used_bytes.saturating_add(store.used_bytes);
                known.reserve_bytes = known.reserve_bytes.max(store.reserve_bytes);
                known.free_bytes = known.free_bytes.min(store.free_bytes);
            }
            None => file_systems.push(*store),
        }
    }
    let owed = |on: &StoreOnDisk| {
        let short_bytes = on.reserve_bytes.saturating_sub(on.free_bytes);
        let slack_bytes = if owing { 0 } else { on.reserve_bytes / SLACK_PART };
        if short_bytes > slack_bytes { short_bytes.min(on.used_bytes) } else { 0 }
    };
    file_systems.iter().map(owed).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reserve_lacks_is_owed_and_no_more_than_shards_use() {
        let store = |file_system, free_bytes, reserve_bytes, used_bytes| StoreOnDisk {
            file_system,
            free_bytes,
            reserve_bytes,
            used_bytes,
        };
        for (stores, owing, expected, what) in [
            (vec![], false, 0, "no store"),
            (vec![store(1, 5000, 1000, 9000)], false, 0, "room enough"),
            (vec![store(1, 1000, 1000, 9000)], true, 0, "just enough"),
            (vec![store(1, 400, 1000, 9000)], false, 600, "the reserve is touched"),
            (vec![store(1, 0, 1000, 9000)], false, 1000, "the disk is full to the brim"),
            (vec![store(1, 0, 1000, 300)], false, 300, "not more than shards use"),
            (vec![store(1, 0, 0, 300)], false, 0, "nothing is reserved"),
            (vec![store(1, 990, 1000, 9000)], false, 0, "within the slack"),
            (vec![store(1, 990, 1000, 9000)], true, 10, "a debt is paid in full"),
            (vec![store(1, 400, 1000, 100), store(1, 400, 800, 150)], false, 250, "two stores on one disk owe once"),
            (vec![store(1, 400, 1000, 9000), store(2, 100, 500, 9000)], false, 1000, "two disks owe both"),
            (vec![store(1, 0, u64::MAX, u64::MAX), store(2, 0, u64::MAX, u64::MAX)], false, u64::MAX, "no overflow"),
        ] {
            assert_eq!(owed_bytes(&stores, owing), expected, "{what}");
        }
    }
}
