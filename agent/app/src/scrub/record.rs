//! What a scrub found, and how far it is: kept in `DATA/scrub.json` over restarts.

use std::collections::BTreeSet;
use std::path::Path;

use dci_proto::ShardKey;
use serde::{Deserialize, Serialize};
use shoal_care::scrub::Scrub;
use shoal_ledger::query::FilesOfContent;

use crate::{AgentError, secret_file};

/// Format of the file. Another one is not read: the scrub begins anew.
const FILE_VERSION: u32 = 1;
/// Findings kept, at most; further ones are counted.
pub(crate) const FINDINGS_LIMIT: usize = 1000;
/// Characters kept of what the store said of a shard.
const DETAIL_LIMIT: usize = 120;
/// Findings are kept for so many rounds after the one that made them.
const ROUNDS_KEPT: u64 = 1;

/// What was wrong with a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// It was not there.
    Missing,
    /// Its bytes did not match their checksums, or were cut short.
    Damaged,
    /// It was whole, but not the one the ledger knows.
    Other,
    /// The disk could not read it.
    Unreadable,
    /// A read came upon it; the scrub has not looked yet.
    Met,
}

/// A shard that was found bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which shard.
    pub key: ShardKey,
    /// What was wrong.
    pub wrong: Wrong,
    /// In the store's words.
    pub detail: String,
    /// When it was found, in ms since 1970 UTC by the agent's clock.
    pub found_ms: u64,
    /// In which round.
    pub round: u64,
    /// Whether it has been handed over to be mended; waits for room there otherwise.
    pub taken: bool,
    /// The files it belongs to; `None` until they are known.
    pub files: Option<FilesOfContent>,
    /// Whether it is whole again, or nothing counts on it any more.
    pub mended: bool,
    /// Why it is not, as far as that is known.
    pub reason: Option<String>,
}

/// All that is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    pub(crate) scrub: Scrub,
    pub(crate) findings: Vec<Finding>,
    /// Findings that were too many to be kept.
    pub(crate) beyond: u64,
    /// Whether the agent that wrote it ended in order.
    pub(crate) ended_well: bool,
}

impl Record {
    /// A file that cannot be read only makes the scrub begin anew.
    pub(crate) fn read(path: &Path) -> Self {
        let read = secret_file::read(path).ok();
        if matches!(read, Some(None)) {
            // There was no run before that could have ended badly.
            return Self { version: FILE_VERSION, ended_well: true, ..Self::default() };
        }
        let bytes = read.flatten().unwrap_or_default();
        let record: Self = serde_json::from_slice(&bytes).unwrap_or_default();
        if record.version == FILE_VERSION { record } else { Self { version: FILE_VERSION, ..Self::default() } }
    }

    pub(crate) fn keep(&self, path: &Path) -> Result<(), AgentError> {
        let text = serde_json::to_vec(self).map_err(|error| AgentError::Internal(error.to_string()))?;
        secret_file::replace(path, &text)
    }

    /// Notes a finding; one of the same shard takes the place of the earlier.
    pub(crate) fn note(&mut self, key: ShardKey, wrong: Wrong, detail: &str, found_ms: u64) {
        let round = self.scrub.round().number;
        self.findings.retain(|finding| finding.key != key);
        if self.findings.len() >= FINDINGS_LIMIT {
            self.beyond += 1;
            return;
        }
        let detail = detail.chars().take(DETAIL_LIMIT).collect();
        let (taken, files, mended, reason) = (false, None, false, None);
        self.findings.push(Finding { key, wrong, detail, found_ms, round, taken, files, mended, reason });
    }

    /// The findings, and the shards of this agent's own that only reads found bad, with why they are not mended yet.
    pub(crate) fn with_met(&self, here: Vec<(ShardKey, String)>) -> Vec<Finding> {
        let known: BTreeSet<ShardKey> = self.findings.iter().filter(|one| !one.mended).map(|one| one.key).collect();
        let met = here.into_iter().filter(|(key, _)| !known.contains(key)).map(|(key, reason)| Finding {
            key,
            wrong: Wrong::Met,
            detail: String::new(),
            found_ms: 0,
            round: self.scrub.round().number,
            taken: true,
            files: None,
            mended: false,
            reason: Some(reason),
        });
        self.findings.iter().cloned().chain(met).take(FINDINGS_LIMIT).collect()
    }

    /// Forgets what rounds long ago found and was mended.
    pub(crate) fn forget_old(&mut self) {
        let round = self.scrub.round().number;
        self.findings.retain(|finding| !finding.mended || finding.round + ROUNDS_KEPT >= round);
        self.beyond = 0;
    }
}

#[cfg(test)]
mod tests {
    use dci_proto::StripeId;

    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_a_file_of_another_version_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("scrub.json");
        let mut record = Record::read(&path);
        assert!(record.findings.is_empty() && record.ended_well, "nothing ran before");
        record.ended_well = false;
        record.scrub.ask(5);
        let key = ShardKey { stripe: StripeId([1; 16]), index: 3 };
        record.note(key, Wrong::Damaged, "a bit", 7);
        record.note(key, Wrong::Missing, "gone", 8);
        record.keep(&path).expect("kept");
        let again = Record::read(&path);
        assert!(!again.ended_well);
        assert_eq!((again.findings.clone(), again.scrub), (record.findings.clone(), record.scrub));
        assert_eq!(again.findings.len(), 1, "one finding a shard");
        let other = ShardKey { index: 4, ..key };
        let shown = record.with_met(vec![(key, "why".into()), (other, "why".into())]);
        let told: Vec<_> = shown.iter().map(|one| (one.key, one.wrong)).collect();
        assert_eq!(told, [(key, Wrong::Missing), (other, Wrong::Met)], "what reads met is named too, each once");
        let newer = std::fs::read_to_string(&path).expect("text").replace("\"version\":1", "\"version\":2");
        std::fs::write(&path, newer).expect("written");
        assert!(Record::read(&path).findings.is_empty());
    }

    #[test]
    fn findings_are_bounded_and_what_is_not_mended_stays() {
        let mut record = Record::default();
        for number in 0..FINDINGS_LIMIT + 5 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            record.note(ShardKey { stripe: StripeId(id), index: 0 }, Wrong::Missing, "", 0);
        }
        assert_eq!((record.findings.len(), record.beyond), (FINDINGS_LIMIT, 5));
        record.findings.iter_mut().skip(1).for_each(|finding| finding.mended = true);
        record.scrub.ask(1);
        record.scrub.end(2);
        record.scrub.ask(3);
        record.forget_old();
        assert_eq!(record.findings.len(), 1);
    }
}
