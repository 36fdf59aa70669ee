//! The recovery kit: what a person needs to get everything back when this PC is gone. Printed once, kept on paper.

use std::fmt;

use dci_proto::AgentId;
use serde::Serialize;
use shoal_backup::ArchiveId;

use super::passphrase::Passphrase;

/// What is needed to get everything back.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Kit {
    /// Opens the archives. Whoever has it can read them; without it nobody can.
    pub passphrase: Passphrase,
    /// Whose backup: under this id holders keep it.
    pub owner: AgentId,
    /// What the PC is called.
    pub host: String,
    /// Where copies are.
    pub peers: Vec<KitPeer>,
    /// All of that and how to restore, for paper.
    pub text: String,
}

/// A PC with a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KitPeer {
    /// Which.
    pub agent: AgentId,
    /// Its nickname.
    pub name: String,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// The newest archive of which it has all; `None`: it has none wholly yet, and nothing can be restored from it alone.
    pub whole_archive: Option<ArchiveId>,
}

impl fmt::Debug for Kit {
    /// Without the passphrase, which the text has too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("owner", &self.owner).field("peers", &self.peers).finish_non_exhaustive()
    }
}

impl Kit {
    pub(super) fn new(passphrase: Passphrase, owner: AgentId, host: &str, peers: Vec<KitPeer>) -> Self {
        let text = text(&passphrase, owner, host, &peers);
        Self { passphrase, owner, host: host.to_owned(), peers, text }
    }
}

/// A copy in a line.
fn copy(peer: &KitPeer, newest: Option<ArchiveId>) -> String {
    let has = match peer.whole_archive {
        None => ": not whole yet, do not count on it".to_owned(),
        Some(archive) if Some(archive) < newest => format!(": up to archive {}", archive.0),
        Some(_) => String::new(),
    };
    format!("  {} ({}){has}\n", peer.name, peer.addresses.join(", "))
}

fn text(passphrase: &Passphrase, owner: AgentId, host: &str, peers: &[KitPeer]) -> String {
    let copies = if peers.is_empty() {
        "  No PC holds a copy yet. Print this kit again when `shoal backup status` names some.\n".to_owned()
    } else {
        let newest = peers.iter().filter_map(|peer| peer.whole_archive).max();
        peers.iter().map(|peer| copy(peer, newest)).collect()
    };
    format!(
        "RECOVERY KIT of {host}\n\
         Keep it on paper or in a safe, not only on this PC. Who has it can read all of the backup; without the\n\
         passphrase nobody can, not even you.\n\
         \n\
         Passphrase:  {}\n\
         Owner:       {owner}\n\
         \n\
         Copies are on:\n{copies}\
         \n\
         With Shoal, on any PC, an old one or a new one:\n\
         \x20 1. Install Shoal and join the pool:           shoal join TICKET\n\
         \x20 2. See which archives there are:             shoal archives --from {owner}\n\
         \x20 3. See what would be restored, and where to:\n\
         \x20      shoal restore latest --from {owner} --to FOLDER --dry-run\n\
         \x20 4. Restore:                                  shoal restore latest --from {owner} --to FOLDER\n\
         \x20 They ask for the passphrase. One PC with a copy is enough, whichever it is.\n\
         \n\
         Without Shoal, on a PC that holds a copy (or with its disk):\n\
         \x20 1. Install restic, 0.14 or newer (on Debian: apt-get install restic).\n\
         \x20 2. The copy is a restic repository in the data folder of that PC's Shoal:\n\
         \x20      restic -r DATA/backup/held/OWNER/repo snapshots\n\
         \x20      restic -r DATA/backup/held/OWNER/repo restore latest --target FOLDER\n\
         \x20    OWNER is the long one above. It asks for the passphrase: type it as above, with the dashes. Add --no-lock if the disk is read-only.\n",
        passphrase.as_str()
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use super::*;

    #[test]
    fn it_says_all_that_is_needed_and_its_debug_says_no_passphrase() {
        let passphrase = Passphrase::generate().unwrap();
        let peer = |name: &str, whole_archive: Option<u64>| KitPeer {
            agent: AgentId([2; 32]),
            name: name.into(),
            addresses: vec!["10.0.0.7:4920".into()],
            whole_archive: whole_archive.map(ArchiveId),
        };
        let peers = vec![peer("den", Some(7)), peer("attic", Some(5)), peer("barn", None)];
        let kit = Kit::new(passphrase.clone(), AgentId([1; 32]), "desk", peers);
        for line in [
            "  den (10.0.0.7:4920)\n",
            "  attic (10.0.0.7:4920): up to archive 5\n",
            "  barn (10.0.0.7:4920): not whole yet",
        ] {
            assert!(kit.text.contains(line), "{line}");
        }
        for needed in
            [passphrase.as_str(), &AgentId([1; 32]).to_string(), "den (10.0.0.7:4920)", "shoal restore", "restic -r"]
        {
            assert!(kit.text.contains(needed), "{needed}");
        }
        assert!(kit.text.lines().all(|line| line.chars().count() < 160));
        let json = serde_json::to_value(&kit).unwrap();
        assert_eq!(json["passphrase"], passphrase.as_str());
        assert!(!format!("{kit:?}").contains(passphrase.as_str()));
    }
}
