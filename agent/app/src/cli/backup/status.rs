//! `shoal backup status`, `peers` and `owners`.

use std::collections::BTreeMap;

use serde_json::Value;
use shoal_backup::drill::Proof;
use shoal_backup_service::holder::ScrubStatus;
use ureq::http::Method;

use super::local_time::local_unsigned;
use super::{count, read};
use crate::api::backup::types::{
    BackupView, HeldView, HoldingView, OwnerView, PeerView, PeersRequest, RunView, UnusableView,
};
use crate::api::types::NodeList;
use crate::cli::CliError;
use crate::cli::client::Client;
use crate::cli::print::{about, answer, bytes, harmless, say, table};

pub(super) fn status(client: &Client, json: bool) -> Result<(), CliError> {
    let value: Value = client.get("backup")?;
    if json {
        return answer(&value);
    }
    let view: BackupView = read(value)?;
    say!("{}", harmless(&view.verdict));
    // The first is what the sentence says.
    for alert in view.alerts.iter().filter(|alert| **alert != view.verdict) {
        say!("! {}", harmless(alert));
    }
    if view.is_set_up {
        say!("");
        tell_runs(&view);
        if !view.peers.is_empty() {
            say!("");
            tell_peers(&view.peers);
        }
        say!("");
        match &view.proof {
            Some(proof) => say!("{}", proven(proof, &tester(client, proof), view.full_restore_ms)),
            None => say!("Restoring was not proven yet; `shoal backup drill --wait` tries it."),
        }
    }
    tell_holding(&view.holding);
    Ok(())
}

fn tell_runs(view: &BackupView) {
    if let Some(run) = &view.run {
        say!("A {} is being made: {}.", run.mode, progress(run));
    } else if let Some(waits_for) = &view.waits_for {
        say!("What is due {waits_for}.");
    }
    if let Some(last) = &view.last_run {
        let ended = local_unsigned(last.ended_ms);
        match (last.archive, &last.error) {
            (_, Some(error)) if is_told(error, &view.verdict) => say!("The last run ended {ended} without an archive."),
            (_, Some(error)) => say!("The last run ended {ended} without an archive: {}", harmless(error)),
            (Some(archive), None) => {
                let lacks = match last.unreadable {
                    0 => String::new(),
                    1 => " 1 file or folder could not be read as it was: `shoal archives` names it.".to_owned(),
                    unreadable => {
                        format!(
                            " {unreadable} files or folders could not be read as they were: `shoal archives` names them."
                        )
                    }
                };
                say!("The last run ended {ended} and made archive {archive}.{lacks}");
            }
            (None, None) => say!("The last run ended {ended}."),
        }
    }
    if let Some(next_ms) = view.next_ms.filter(|_| view.run.is_none()) {
        say!("The next one is due {}.", local_unsigned(next_ms));
    }
    say!("{}, {} here (`shoal archives`).", count(view.archives, "archive"), bytes(view.repository_bytes));
}

/// Whether the sentence at the top begins with this, figures aside: they change.
fn is_told(error: &str, verdict: &str) -> bool {
    let head = |text: &str| text.split(':').next().unwrap_or_default().to_lowercase();
    head(error) == head(verdict)
}

/// How far a run is, in a line.
pub(super) fn progress(run: &RunView) -> String {
    let mut line = format!("{}, {}", count(run.files, "file"), bytes(run.bytes));
    if let Some(waits_for) = &run.waits_for {
        return format!("{line}; it {waits_for}");
    }
    if run.bytes_per_s > 0 {
        line += &format!(", {}/s", bytes(run.bytes_per_s));
    }
    if let Some(eta_ms) = run.eta_ms {
        line += &format!(", {} left", about(eta_ms.div_ceil(1_000)));
    }
    line
}

fn tell_peers(peers: &[PeerView]) {
    table(&["HOLDS A COPY", "STATE", "HAS", "LACKS", "CHOSEN BY"], peers.iter().map(peer_row));
}

fn peer_row(peer: &PeerView) -> Vec<String> {
    let chosen_by = if peer.assigned { "an admin" } else { "Shoal" };
    vec![peer.name.clone(), peer_state(peer), bytes(peer.held_bytes), bytes(peer.lacking_bytes), chosen_by.to_owned()]
}

fn peer_state(peer: &PeerView) -> String {
    let mut parts = Vec::new();
    if peer.is_distrusted {
        parts.push("gave wrong bytes, counts for nothing until proven".to_owned());
    }
    if let Some(why) = &peer.refuses {
        parts.push(format!("takes nothing: {why}"));
    }
    if let Some(away_ms) = peer.away_ms {
        parts.push(format!("away for {}", about(away_ms / 1_000)));
    }
    if peer.is_full {
        parts.push("has no room".to_owned());
    }
    match (peer.lacking_bytes, peer.eta_ms) {
        (0, _) if parts.is_empty() => parts.push("has everything".to_owned()),
        (0, _) => {}
        (_, Some(eta_ms)) if parts.is_empty() => {
            parts.push(format!("catches up, {} left", about(eta_ms.div_ceil(1_000))))
        }
        (_, None) if parts.is_empty() => parts.push("lacks some".to_owned()),
        _ => {}
    }
    parts.join(", ")
}

/// What a drill proved.
pub(super) fn proven(proof: &Proof, by: &str, full_restore_ms: Option<u64>) -> String {
    let (at, archive, result) = (local_unsigned(proof.at_ms), proof.archive.0, &proof.result);
    if !result.is_proof() {
        let bad = count(result.bad_files, "file");
        return format!("The drill of {at} by {by} failed: {bad} of archive {archive} did not come back as they were.");
    }
    let good = format!("{}, {}", count(result.good_files, "file"), bytes(result.good_bytes));
    let full =
        full_restore_ms.map(|ms| format!(" All of it would take {}.", about(ms.div_ceil(1_000)))).unwrap_or_default();
    format!("Restoring was last proven {at} by {by}: {good} of archive {archive} came back as they were.{full}")
}

/// The name of who did a drill: who holds no copy is not among the peers. Not knowing it is no failure.
pub(super) fn tester(client: &Client, proof: &Proof) -> String {
    let nodes: Option<NodeList> = client.get("nodes").ok();
    let found = nodes.and_then(|list| list.nodes.into_iter().find(|node| node.id == proof.by));
    found.map_or_else(|| format!("…{}", proof.by.fingerprint()), |node| node.name)
}

fn tell_holding(holding: &HoldingView) {
    say!("");
    if holding.share_bytes == 0 && holding.owners.is_empty() {
        say!("This PC holds nothing for others: share_bytes in its agent.toml is 0.");
        return;
    }
    say!("This PC holds {} of {} for others.", bytes(holding.used_bytes), bytes(holding.share_bytes));
    if holding.owners.is_empty() {
        return;
    }
    reading(holding).iter().for_each(|line| say!("{line}"));
    let rows = holding.owners.iter().map(|held| {
        let lacks = if held.lacking == 0 { "nothing".to_owned() } else { count(held.lacking, "object") };
        vec![name_of(held.name.as_deref(), &held.owner), held.archives.to_string(), bytes(held.held_bytes), lacks]
    });
    table(&["HELD FOR", "ARCHIVES", "BYTES", "LACKS"], rows);
    for held in holding.owners.iter().filter(|held| held.deleted_lost > 0) {
        say!("{}", deleted_lost(held));
    }
}

/// What came of reading the copies through.
fn reading(holding: &HoldingView) -> Vec<String> {
    let mut lines = Vec::new();
    match &holding.scrub {
        Some(scrub) if scrub.ended_ms.is_none() => lines.push(format!("All of it is being read: {}.", scrubbed(scrub))),
        _ => lines.extend(
            holding.read_through_ms.map(|at_ms| format!("All of it was last read through {}.", local_unsigned(at_ms))),
        ),
    }
    if holding.damaged > 0 {
        let missing = holding.damaged.saturating_sub(holding.mended);
        let still = if missing == 0 { String::new() } else { format!(", {missing} not yet") };
        let (damaged, mended) = (count(holding.damaged, "object"), holding.mended);
        lines.push(format!("Since the agent began, {damaged} of it went bad or missing; {mended} made anew{still}."));
    }
    lines
}

/// What went bad of what an owner deleted.
fn deleted_lost(held: &HeldView) -> String {
    let (objects, them) = (count(held.deleted_lost, "object"), if held.deleted_lost == 1 { "it" } else { "them" });
    let name = name_of(held.name.as_deref(), &held.owner);
    format!(
        "{objects} that {name} deleted and that would have been kept for its grace time went bad here. No archive that {name} \
         keeps needs {them}; until that time is over `restic check` of this copy may name {them}."
    )
}

/// How far a reading of the copies is, in a line.
pub(super) fn scrubbed(scrub: &ScrubStatus) -> String {
    format!(
        "{} of {}, {} of {}, {} damaged",
        scrub.objects,
        count(scrub.objects_total, "object"),
        bytes(scrub.bytes),
        bytes(scrub.bytes_total),
        scrub.damaged
    )
}

fn name_of(name: Option<&str>, id: &str) -> String {
    name.map_or_else(|| id.to_owned(), str::to_owned)
}

pub(super) fn peers(client: &Client, agents: &[String], auto: bool, json: bool) -> Result<(), CliError> {
    if !agents.is_empty() || auto {
        client.call::<Value>(Method::PUT, "backup/peers", &PeersRequest { assigned: agents.to_vec() })?;
    }
    let value: Value = client.get("backup")?;
    if json {
        return answer(value.get("peers").unwrap_or(&Value::Null));
    }
    let view: BackupView = read(value)?;
    match (agents, auto) {
        (_, true) => say!("Shoal chooses who holds copies."),
        ([], false) => {}
        (agents, false) => say!("{} shall hold a copy each; the rest Shoal chooses.", agents.join(", ")),
    }
    match view.peers.as_slice() {
        [] => say!("Nobody holds a copy yet."),
        peers => tell_peers(peers),
    }
    for peer in &view.unusable {
        say!("{}", not_usable(peer));
    }
    Ok(())
}

/// Why somebody whom an admin assigned holds no copy.
fn not_usable(peer: &UnusableView) -> String {
    format!("{}, assigned by an admin, holds none: {}. It is asked again until it can.", peer.name, peer.why)
}

pub(super) fn owners(client: &Client, json: bool) -> Result<(), CliError> {
    let value: Value = client.get("backup/owners")?;
    if json {
        return answer(&value);
    }
    let mut owners: Vec<OwnerView> = read(value)?;
    if owners.is_empty() {
        say!("No agent that answers holds a backup.");
        return Ok(());
    }
    owners.sort_by(|one, other| (&one.name, &one.owner).cmp(&(&other.name, &other.owner)));
    table(&["BACKUP OF", "ID", "ARCHIVES", "HELD BY"], owner_rows(&owners).into_iter());
    say!(
        "\nWith its recovery kit each can be restored: `shoal archives --from OWNER`, `shoal restore latest --from OWNER --to DIR`."
    );
    Ok(())
}

fn owner_rows(owners: &[OwnerView]) -> Vec<Vec<String>> {
    // Two PCs of one name are told apart by their ids only.
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    owners.iter().filter_map(|owner| owner.name.as_deref()).for_each(|name| *names.entry(name).or_default() += 1);
    let row = |owner: &OwnerView| {
        let name = owner.name.as_deref().map_or("(not in the pool)".to_owned(), |name| match names.get(name) {
            Some(2..) => format!("{name} (name its id)"),
            _ => name.to_owned(),
        });
        vec![name, owner.owner.clone(), owner.archives.to_string(), owner.holders.join(" ")]
    };
    owners.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use dci_proto::AgentId;
    use shoal_backup::ArchiveId;
    use shoal_backup::drill::DrillResult;
    use shoal_backup::schedule::Mode;

    use super::*;

    #[test]
    fn a_run_is_told_in_a_line() {
        let mut run = RunView {
            mode: Mode::Delta,
            waits_for: None,
            files: 1,
            bytes: 2_000_000,
            bytes_per_s: 1_000_000,
            eta_ms: Some(59_500),
        };
        assert_eq!(progress(&run), "1 file, 2.00 MB, 1.00 MB/s, about 60 seconds left");
        run.waits_for = Some("waits until this PC is off battery".into());
        assert_eq!(progress(&run), "1 file, 2.00 MB; it waits until this PC is off battery");
    }

    #[test]
    fn what_a_scrub_does_found_and_mended_is_told() {
        let quiet = HoldingView {
            share_bytes: 9,
            used_bytes: 9,
            owners: Vec::new(),
            damaged: 0,
            mended: 0,
            read_through_ms: None,
            scrub: None,
        };
        assert!(reading(&quiet).is_empty());
        let scrub = ScrubStatus {
            objects: 1,
            objects_total: 3,
            bytes: 1_000,
            bytes_total: 4_000,
            damaged: 1,
            ..ScrubStatus::default()
        };
        let on = HoldingView { scrub: Some(scrub), damaged: 2, mended: 1, ..quiet.clone() };
        let said = [
            "All of it is being read: 1 of 3 objects, 1.00 kB of 4.00 kB, 1 damaged.",
            "Since the agent began, 2 objects of it went bad or missing; 1 made anew, 1 not yet.",
        ];
        assert_eq!(reading(&on), said);
        let ended = ScrubStatus { ended_ms: Some(5), ..scrub };
        let over = HoldingView { scrub: Some(ended), read_through_ms: Some(5), damaged: 1, mended: 1, ..quiet };
        let lines = reading(&over);
        assert!(lines[0].starts_with("All of it was last read through 19"), "{lines:?}");
        assert_eq!(lines[1], "Since the agent began, 1 object of it went bad or missing; 1 made anew.");
    }

    fn peer() -> PeerView {
        PeerView {
            agent: "12D3KooWx".into(),
            name: "lab-2".into(),
            assigned: false,
            away_ms: None,
            held_bytes: 5_000_000,
            lacking_bytes: 0,
            eta_ms: None,
            is_distrusted: false,
            is_full: false,
            refuses: None,
        }
    }

    #[test]
    fn a_peer_is_a_row_that_says_what_is_wrong_with_it() {
        assert_eq!(peer_row(&peer()), ["lab-2", "has everything", "5.00 MB", "0 B", "Shoal"]);
        let behind = PeerView { lacking_bytes: 9, eta_ms: Some(3_000), assigned: true, ..peer() };
        assert_eq!(peer_row(&behind), ["lab-2", "catches up, about 3 seconds left", "5.00 MB", "9 B", "an admin"]);
        let away = PeerView { lacking_bytes: 9, away_ms: Some(7_200_000), is_full: true, ..peer() };
        assert_eq!(peer_state(&away), "away for about 2 hours, has no room");
        assert_eq!(peer_state(&PeerView { lacking_bytes: 9, ..peer() }), "lacks some");
        let liar = PeerView { is_distrusted: true, ..peer() };
        assert!(peer_state(&liar).contains("wrong bytes") && !peer_state(&liar).contains("everything"));
    }

    #[test]
    fn a_drill_says_what_it_proved() {
        let result = DrillResult { good_files: 2, good_bytes: 10, ..DrillResult::default() };
        let proof = Proof { archive: ArchiveId(7), at_ms: 0, by: AgentId([1; 32]), took_ms: 5, result };
        let said = proven(&proof, "lab-2", Some(7_201_000));
        assert!(said.contains(
            "by lab-2: 2 files, 10 B of archive 7 came back as they were. All of it would take about 3 hours."
        ));
        let failed = Proof { result: DrillResult { bad_files: 1, ..DrillResult::default() }, ..proof };
        assert!(proven(&failed, "lab-2", None).contains("failed: 1 file of archive 7 did not come back"));
    }

    #[test]
    fn what_the_sentence_at_the_top_says_is_not_told_again() {
        let verdict =
            "The disk of /home/ana is full: 12 MB free, 2 GB are needed. Make room: it is tried again at 10:05";
        assert!(is_told("the disk of /home/ana is full: 11 MB free, 2 GB are needed", verdict));
        assert!(!is_told("no folder is to be kept", verdict));
    }

    #[test]
    fn owners_of_one_name_are_told_apart() {
        let owner = |id: &str, name: Option<&str>| OwnerView {
            owner: id.into(),
            name: name.map(str::to_owned),
            archives: 3,
            holders: vec!["b".into(), "c".into()],
        };
        let rows =
            owner_rows(&[owner("1", Some("pc")), owner("2", Some("pc")), owner("3", Some("x")), owner("4", None)]);
        assert_eq!(rows[0], ["pc (name its id)", "1", "3", "b c"]);
        assert_eq!((rows[2][0].as_str(), rows[3][0].as_str()), ("x", "(not in the pool)"));
    }
}
