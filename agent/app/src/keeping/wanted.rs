//! How safe each content is to be: as the pool asks, but for contents of volumes that ask otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use dci_proto::ContentId;
use shoal_care::Wanted;
use shoal_ledger::{KvError, KvRead, NodeContent, NodeKind, VolumeRecord, query};

/// Contents kept apart, at most (about 100 MB); those beyond are kept as the pool asks until fewer are apart.
const SPECIAL_LIMIT: usize = 1_000_000;
/// Volumes are walked again no sooner than this, and no more often than this many times the number of contents in ms.
const WALK_INTERVAL: Duration = Duration::from_secs(30);
/// Chunks read at a time.
const PAGE: u32 = 4_096;

/// What contents are to survive, read again from time to time.
#[derive(Default)]
pub(crate) struct WantedBook {
    wanted: Wanted,
    policies: Vec<(u32, u8)>,
    position: u64,
    walked: Option<Duration>,
}

impl WantedBook {
    /// What contents are to survive as the ledger stands. Volumes that ask for something of their own are walked.
    pub(crate) fn read(&mut self, view: &dyn KvRead, now: Duration) -> Result<Wanted, KvError> {
        let pool = query::pool(view)?.map_or(0, |pool| pool.survive);
        let special: Vec<(VolumeRecord, u8)> = query::volumes(view)?
            .into_iter()
            .filter_map(|volume| volume.policy.survive.map(|survive| (volume, survive)))
            .filter(|(_, survive)| *survive != pool)
            .collect();
        let policies: Vec<(u32, u8)> = special.iter().map(|(volume, survive)| (volume.id.0, *survive)).collect();
        let position = query::position(view)?;
        let pause = WALK_INTERVAL.max(Duration::from_millis(self.wanted.special.len() as u64));
        let due = self.walked.is_none_or(|walked| now.saturating_sub(walked) >= pause) && self.position != position;
        self.wanted.pool = pool;
        if policies != self.policies || (due && !special.is_empty()) {
            self.wanted.special = contents_of(view, &special)?;
            (self.policies, self.position, self.walked) = (policies, position, Some(now));
        }
        Ok(self.wanted.clone())
    }
}

fn contents_of(view: &dyn KvRead, volumes: &[(VolumeRecord, u8)]) -> Result<BTreeMap<ContentId, u8>, KvError> {
    let mut special: BTreeMap<ContentId, u8> = BTreeMap::new();
    for (volume, survive) in volumes {
        let mut folders = vec![volume.root];
        while let Some(folder) = folders.pop() {
            let mut lists = Vec::new();
            query::children(view, folder, None, &mut |node| {
                match (node.kind, node.content) {
                    (NodeKind::Folder, _) => folders.push(node.inode),
                    (NodeKind::File, Some(NodeContent::Chunks(list))) => lists.push(list),
                    (NodeKind::File, _) => {}
                }
                true
            })?;
            for list in lists {
                let mut first = 0;
                loop {
                    let page = query::chunks(view, list, first, PAGE)?;
                    for (content, _) in &page {
                        let most = special.entry(*content).or_insert(*survive);
                        *most = (*most).max(*survive);
                    }
                    first += PAGE;
                    if page.len() < PAGE as usize || special.len() >= SPECIAL_LIMIT {
                        break;
                    }
                }
                if special.len() >= SPECIAL_LIMIT {
                    return Ok(special);
                }
            }
        }
    }
    Ok(special)
}
