//! What a person is told, put together from the books.

use dci_proto::AgentId;
use shoal_archive::Archive;
use shoal_backup::drill::{Alert, AlertFacts, alerts, full_restore_ms};
use shoal_backup::plan::Pause;
use shoal_backup::replication::Protection;
use shoal_backup::schedule::{Mode, When};
use shoal_backup::{ArchiveId, Now, eta_ms};

use super::books::Books;
use super::error::OwnerError;
use super::status::{AlertStatus, ArchiveStatus, NextRun, OwnerStatus, PeerCopy, RunStatus, UnusablePeer, WaitsFor};
use super::{Owner, Setup};
use crate::network::Member;

const HOUR_MS: u64 = 3_600_000;

impl Owner {
    /// How the backup of this PC is.
    #[must_use]
    pub fn status(&self) -> OwnerStatus {
        let Ok(setup) = self.setup() else { return self.not_set_up() };
        let now = self.now();
        let members = self.parts.network.members();
        let pause = self.pause_of(&setup);
        let next_run = setup.books().scheduler.next_ms(now, &self.parts.machine.zone());
        let books = setup.books();
        let newest = books.newest().map(|archive| books.tell_archive(archive));
        let alerts = books.alerts(now, &members);
        let peers: Vec<PeerCopy> =
            books.replication.peers().map(|agent| books.tell_peer(agent, &members, now)).collect();
        let unsent_bytes = peers.iter().map(|peer| peer.lacks_bytes).sum();
        let full = self.tell_full(&books, now);
        let waits_for = books.waits_for.or(pause.filter(|_| unsent_bytes > 0)).map(waits_for);
        let full_ms = books.state.proof.as_ref().zip(newest.as_ref());
        let mut status = OwnerStatus {
            owner: self.own(),
            is_set_up: true,
            verdict: String::new(),
            run: books.tell_run(),
            waits_for,
            next_run: next_run.map(|(mode, at_ms)| NextRun { mode, at_ms }),
            last_run: books.state.last_run.clone(),
            archives: books.archives.len() as u64,
            objects: books.catalogue.state().len() as u64,
            repository_bytes: books.catalogue.state().size_bytes(),
            sequence: books.catalogue.state().sequence(),
            copies_wanted: books.plan.copies,
            copies_missing: books.copies_missing as u64,
            peers,
            unusable: books
                .unusable
                .iter()
                .map(|(agent, why)| UnusablePeer {
                    agent: *agent,
                    name: books.name_of(*agent, &members),
                    why: why.clone(),
                })
                .collect(),
            unsent_bytes,
            lost_here: books.missing.len() as u64,
            alerts,
            full_restore_ms: full_ms.and_then(|(proof, newest)| full_restore_ms(proof, newest.files, newest.bytes)),
            newest,
            proof: books.state.proof.clone(),
            trouble: full
                .or_else(|| books.trouble.clone())
                .or_else(|| (!books.clearance.is_clear).then(|| OwnerError::NotCleared.to_string())),
        };
        status.verdict = verdict(&status);
        status
    }

    fn not_set_up(&self) -> OwnerStatus {
        OwnerStatus {
            owner: self.own(),
            is_set_up: false,
            verdict: OwnerError::NotSetUp.to_string(),
            run: None,
            waits_for: None,
            next_run: None,
            last_run: None,
            newest: None,
            archives: 0,
            objects: 0,
            repository_bytes: 0,
            sequence: 0,
            copies_wanted: 0,
            copies_missing: 0,
            peers: Vec::new(),
            unusable: Vec::new(),
            unsent_bytes: 0,
            lost_here: 0,
            alerts: Vec::new(),
            proof: None,
            full_restore_ms: None,
            trouble: None,
        }
    }

    /// All archives, the oldest first.
    ///
    /// # Errors
    /// It is not set up.
    pub fn archives(&self) -> Result<Vec<ArchiveStatus>, OwnerError> {
        let setup: std::sync::Arc<Setup> = self.setup()?;
        let books = setup.books();
        Ok(books.archives.iter().map(|archive| books.tell_archive(archive)).collect())
    }

    /// What the owner has to know, the worst first.
    #[must_use]
    pub fn alerts(&self) -> Vec<AlertStatus> {
        self.setup().map(|setup| setup.books().alerts(self.now(), &self.parts.network.members())).unwrap_or_default()
    }
}

fn waits_for(pause: Pause) -> WaitsFor {
    WaitsFor { pause, text: pause.to_string() }
}

/// The worst thing, or what is good.
fn verdict(status: &OwnerStatus) -> String {
    if let Some(trouble) = &status.trouble {
        return trouble.clone();
    }
    if let Some(alert) = status.alerts.first() {
        return alert.text.clone();
    }
    match &status.newest {
        Some(newest) if newest.copies >= newest.copies_wanted => {
            format!("everything is kept, and on {}", other_pcs(newest.copies))
        }
        Some(newest) => {
            format!("the newest archive is on {} of {} so far", newest.copies, other_pcs(newest.copies_wanted))
        }
        None => "nothing has been backed up yet".to_owned(),
    }
}

fn other_pcs(number: u64) -> String {
    format!("{number} other PC{}", if number == 1 { "" } else { "s" })
}

impl Books {
    fn tell_archive(&self, archive: &Archive) -> ArchiveStatus {
        let none = Protection { copies: 0, reachable: 0, of: usize::from(self.plan.copies) };
        let protection = archive.number.and_then(|number| self.replication.protection(number)).unwrap_or(none);
        ArchiveStatus {
            number: archive.number,
            name: archive.name,
            mode: archive.mode,
            is_continuous: archive.number.is_some_and(|number| self.state.continuous.contains(&number)),
            made_ms: u64::try_from(archive.made_ms).unwrap_or(0),
            host: archive.host.clone(),
            is_complete: archive.is_complete,
            is_damaged: self.state.damaged.contains(&archive.name),
            description: archive.description.clone(),
            files: archive.files,
            bytes: archive.bytes,
            added_bytes: archive.added_bytes,
            roots: archive.roots.clone(),
            copies: protection.copies as u64,
            copies_reachable: protection.reachable as u64,
            copies_wanted: protection.of as u64,
        }
    }

    /// Archives that lack what is gone for good.
    fn damaged(&self) -> impl Iterator<Item = ArchiveId> {
        let damaged = self.archives.iter().filter(|archive| self.state.damaged.contains(&archive.name));
        damaged.filter_map(|archive| archive.number)
    }

    fn tell_run(&self) -> Option<RunStatus> {
        let run = self.run.as_ref()?;
        let progress = run.watch.progress();
        let newest = self.newest();
        let bytes_expected = newest.map(|archive| archive.bytes);
        let left = bytes_expected.map(|expected| expected.saturating_sub(progress.bytes));
        let bytes_per_s = progress.bytes_per_s();
        Some(RunStatus {
            mode: run.mode,
            is_continuous: run.is_continuous,
            archive: run.archive,
            began_ms: run.began_ms,
            files: progress.files,
            bytes: progress.bytes,
            files_expected: newest.map(|archive| archive.files),
            bytes_expected,
            bytes_per_s,
            eta_ms: left.and_then(|left| eta_ms(progress.bytes, left, progress.elapsed_ms)),
            waits_for: run.reins.still().map(waits_for),
        })
    }

    fn tell_peer(&self, agent: AgentId, members: &[Member], now: Now) -> PeerCopy {
        let member = members.iter().find(|member| member.agent == agent);
        let progress = self.replication.progress(agent);
        let peer = self.peers.get(&agent);
        let held = self.replication.held(agent).filter(|(_, counts)| *counts);
        let lacks_bytes = progress.map_or(0, |progress| progress.lacks_bytes);
        PeerCopy {
            agent,
            name: member.map_or_else(
                || self.state.holders.get(&agent).map(|holder| holder.name.clone()).unwrap_or_default(),
                |member| member.name.clone(),
            ),
            site: member.and_then(|member| member.site.clone()),
            is_assigned: self.plan.assigned.contains(&agent),
            is_reachable: member.is_some_and(|member| member.away_ms.is_none()),
            away_ms: member.and_then(|member| self.away_ms(member, now)),
            is_whole: self.replication.is_full_copy(agent),
            held_bytes: held.map(|(object, _)| object.size_bytes).sum(),
            lacks: progress.map_or(0, |progress| progress.lacks as u64),
            lacks_bytes,
            eta_ms: peer.and_then(|peer| peer.eta_ms(lacks_bytes, now.steady_ms)),
            in_flight: progress.map_or(0, |progress| progress.in_flight as u64),
            is_full: peer.is_some_and(|peer| peer.is_full()),
            is_distrusted: self.state.distrusted().contains(&agent),
            refuses: peer.and_then(|peer| peer.refuses.clone()),
        }
    }

    /// What people call an agent: its name, with the end of its id where two have that name; only that where no name is known.
    fn name_of(&self, agent: AgentId, members: &[Member]) -> String {
        let member = members.iter().find(|member| member.agent == agent).map(|member| member.name.as_str());
        let kept = || self.state.holders.get(&agent).map(|holder| holder.name.as_str());
        let name = member.or_else(kept).filter(|name| !name.is_empty());
        let is_another = |member: &&Member| member.agent != agent && Some(member.name.as_str()) == name;
        match name {
            Some(name) if members.iter().any(|member| is_another(&member)) => {
                format!("{name} (…{})", agent.fingerprint())
            }
            Some(name) => name.to_owned(),
            None => format!("…{}", agent.fingerprint()),
        }
    }

    fn alerts(&self, now: Now, members: &[Member]) -> Vec<AlertStatus> {
        let age_ms = |at_ms: u64| now.wall_ms.saturating_sub(at_ms);
        let archives = self.archives.iter().rev().filter_map(|archive| {
            let number = archive.number?;
            let none = Protection { copies: 0, reachable: 0, of: usize::from(self.plan.copies) };
            let protection = self.replication.protection(number).unwrap_or(none);
            Some((number, protection, age_ms(u64::try_from(archive.made_ms).unwrap_or(0))))
        });
        let modes = [Mode::Delta, Mode::Snapshot].into_iter().filter_map(|mode| {
            let periods =
                self.plan.rules.iter().filter(|rule| rule.mode == mode).filter_map(|rule| longest_ms(&rule.when));
            Some((mode, periods.min()?, self.state.ended_well_ms[mode as usize].map(age_ms)))
        });
        let is_of_newest = |archive| self.newest().is_some_and(|newest| newest.number == Some(archive));
        let last = self.state.last_run.as_ref().filter(|last| last.error.is_none() && is_of_newest(last.archive));
        let facts = AlertFacts {
            archives: archives.collect(),
            unreadable: last.map_or_else(
                || u64::from(self.newest().is_some_and(|newest| !newest.is_complete)),
                |last| last.unreadable,
            ),
            modes: modes.collect(),
            failed_drill: self.state.failed_drill,
            damaged: self.damaged().collect(),
            lost: self.lost().len(),
            distrusted: self.replication.peers().filter(|agent| self.state.distrusted().contains(agent)).collect(),
            bad_disks: self.bad_disks(now).collect(),
            full: self
                .replication
                .peers()
                .filter(|agent| self.peers.get(agent).is_some_and(|it| it.is_full()))
                .collect(),
        };
        alerts(&facts)
            .iter()
            .map(|alert| AlertStatus {
                kind: kind_of(alert).to_owned(),
                text: alert.said(|peer| self.name_of(peer, members)),
            })
            .collect()
    }
}

/// The longest time between two runs of a schedule.
fn longest_ms(when: &When) -> Option<u64> {
    match when {
        When::Hourly { .. } => Some(HOUR_MS),
        When::Daily { .. } => Some(24 * HOUR_MS),
        When::Weekly { .. } => Some(7 * 24 * HOUR_MS),
        When::Interval { minutes } => Some(u64::from(*minutes) * 60_000),
        When::OnDemand => None,
    }
}

fn kind_of(alert: &Alert) -> &'static str {
    match alert {
        Alert::NoArchive => "no_archive",
        Alert::FewCopies { .. } => "few_copies",
        Alert::Late { .. } => "late",
        Alert::Incomplete { .. } => "incomplete",
        Alert::DrillFailed { .. } => "drill_failed",
        Alert::Damaged { .. } => "damaged",
        Alert::LostHere { .. } => "lost_here",
        Alert::Distrusted(_) => "distrusted",
        Alert::BadDisk { .. } => "bad_disk",
        Alert::Full(_) => "full",
    }
}
