//! What the service tells, as the API shows it.

use shoal_backup::plan::PathBytes;
use shoal_backup_service::holder::CopyStatus;
use shoal_backup_service::owner::{
    ArchiveStatus, Kit, LastRun, OwnerStatus, PeerCopy, Requested, RunStatus, UnusablePeer,
};
use shoal_backup_service::recovery::{self, RestoreState, StepAction};

use super::types::{
    ArchiveView, BackupView, DifferenceView, EntryView, HeldView, HoldingView, KitView, LastRunView, OwnerView,
    PeerView, RestorePlanView, RestoreView, RunRequestView, RunView, UnusableView,
};
use crate::backup::Backups;

pub(super) fn backup(backups: &Backups) -> BackupView {
    let (owner, holder): (OwnerStatus, _) = (backups.owner.status(), backups.holder.status());
    let waits_for = owner.waits_for.map(|waits| waits.text);
    let mut alerts: Vec<String> = owner.trouble.into_iter().collect();
    alerts.extend(owner.alerts.into_iter().map(|alert| alert.text));
    alerts.extend(owner.unusable.iter().map(|peer| format!("{}: {}", peer.name, peer.why)));
    BackupView {
        is_set_up: owner.is_set_up,
        verdict: owner.verdict,
        alerts,
        run: owner.run.map(|run| run_view(run, waits_for.clone())),
        waits_for,
        last_run: owner.last_run.map(last_run),
        next_ms: owner.next_run.map(|next| next.at_ms),
        archives: owner.archives,
        repository_bytes: owner.repository_bytes,
        copies_wanted: owner.copies_wanted,
        peers: owner.peers.into_iter().map(peer).collect(),
        unusable: owner.unusable.into_iter().map(unusable).collect(),
        proof: owner.proof,
        full_restore_ms: owner.full_restore_ms,
        drill: backups.drill(),
        holding: HoldingView {
            share_bytes: holder.share.limit_bytes,
            used_bytes: holder.share.used_bytes,
            damaged: holder.damaged_objects,
            mended: holder.mended_objects,
            read_through_ms: holder.scrubbed_at_ms,
            scrub: holder.scrub,
            owners: holder.copies.into_iter().map(|copy| held(backups, copy)).collect(),
        },
    }
}

fn run_view(run: RunStatus, waits_for: Option<String>) -> RunView {
    let RunStatus { mode, files, bytes, bytes_per_s, eta_ms, .. } = run;
    let waits_for = run.waits_for.map(|waits| waits.text).or(waits_for);
    RunView { mode, waits_for, files, bytes, bytes_per_s, eta_ms }
}

pub(super) fn requested(requested: Requested, owner: OwnerStatus) -> RunRequestView {
    let waits_for = owner.waits_for.map(|waits| waits.text);
    let (state, ended) = match requested {
        Requested::Waits => ("waits", None),
        Requested::Runs => ("runs", None),
        Requested::Ended(last) => ("ended", Some(last_run(*last))),
    };
    let run = owner.run.filter(|_| ended.is_none()).map(|run| run_view(run, waits_for.clone()));
    RunRequestView { state: state.to_owned(), run, waits_for, ended }
}

fn last_run(run: LastRun) -> LastRunView {
    LastRunView {
        ended_ms: run.began_ms.saturating_add(run.took_ms),
        archive: run.error.is_none().then_some(run.archive.0),
        error: run.error,
        files: run.files,
        bytes: run.bytes,
        added_bytes: run.added_bytes,
        unreadable: run.unreadable,
        problems: run.problems,
    }
}

fn peer(peer: PeerCopy) -> PeerView {
    PeerView {
        agent: peer.agent.to_string(),
        name: peer.name,
        assigned: peer.is_assigned,
        away_ms: peer.away_ms,
        held_bytes: peer.held_bytes,
        lacking_bytes: peer.lacks_bytes,
        eta_ms: peer.eta_ms,
        is_distrusted: peer.is_distrusted,
        is_full: peer.is_full,
        refuses: peer.refuses,
    }
}

fn unusable(peer: UnusablePeer) -> UnusableView {
    UnusableView { agent: peer.agent.to_string(), name: peer.name, why: peer.why }
}

fn held(backups: &Backups, copy: CopyStatus) -> HeldView {
    HeldView {
        owner: copy.owner.to_string(),
        name: backups.name_of(copy.owner),
        held_bytes: copy.held_bytes,
        lacking: copy.lacking as u64,
        deleted_lost: copy.trash_lost as u64,
        archives: copy.archives,
    }
}

pub(super) fn kit(kit: &Kit) -> KitView {
    KitView { passphrase: kit.passphrase.as_str().to_owned(), owner: kit.owner.to_string(), text: kit.text.clone() }
}

pub(super) fn owner(backups: &Backups, owner: recovery::OwnerView) -> OwnerView {
    let name = |agent: &dci_proto::AgentId| backups.name_of(*agent).unwrap_or_else(|| agent.to_string());
    OwnerView {
        holders: owner.holders.iter().map(name).collect(),
        owner: owner.owner.to_string(),
        name: owner.name,
        archives: owner.archives,
    }
}

/// One of this PC's own, of which it is known who holds it.
pub(super) fn own_archive(archive: ArchiveStatus) -> ArchiveView {
    let count = |copies| Some(usize::try_from(copies).unwrap_or(usize::MAX));
    let (copies, copies_wanted) = (count(archive.copies), count(archive.copies_wanted));
    let is_damaged = archive.is_damaged;
    let mut view = ArchiveView { copies, copies_wanted, ..self::archive(archive.into()) };
    if is_damaged {
        view.is_complete = false;
        let more = if view.problems.is_empty() { String::new() } else { format!("; {}", view.problems) };
        view.problems =
            format!("The disk of this PC damaged contents before there was a copy; a restore names the files{more}");
    }
    view
}

pub(super) fn archive(archive: recovery::ArchiveView) -> ArchiveView {
    ArchiveView {
        number: archive.number.unwrap_or_default().0,
        id: archive.name.to_string(),
        made_ms: archive.made_ms,
        mode: archive.mode,
        is_complete: archive.is_complete,
        problems: archive.description,
        files: archive.files,
        bytes: archive.bytes,
        added_bytes: archive.added_bytes,
        copies: None,
        copies_wanted: None,
        roots: archive.roots,
    }
}

impl From<recovery::FileView> for EntryView {
    fn from(file: recovery::FileView) -> Self {
        let recovery::FileView { path, kind, size_bytes, modified_ms, rights, link_target, special } = file;
        Self {
            path,
            kind,
            size_bytes,
            modified_ms,
            mode: rights.map(|rights| format!("{:04o}", rights.mode)),
            uid: rights.map(|rights| rights.uid),
            gid: rights.map(|rights| rights.gid),
            link_target,
            special,
            archives: Vec::new(),
        }
    }
}

pub(super) fn difference(difference: recovery::DifferenceView) -> DifferenceView {
    let what = match difference.change {
        recovery::Change::Added => "added",
        recovery::Change::Removed => "removed",
        recovery::Change::Changed => "changed",
    };
    let before = difference.before.map(EntryView::from);
    DifferenceView { what: what.to_owned(), entry: difference.file.into(), before }
}

fn failures(failures: &recovery::FailuresView) -> Vec<String> {
    let sentence = |failure: &recovery::FailureView| match &failure.path {
        Some(path) => format!("{path}: {}", failure.why),
        None => failure.why.clone(),
    };
    failures.named.iter().map(sentence).collect()
}

/// `target`: the folder that all of it goes under, if it is not where it was.
pub(super) fn restore_plan(plan: recovery::PlanView, target: Option<&PathBytes>) -> RestorePlanView {
    let step = |step: &recovery::StepView| {
        let below = target.map(|target| target.as_bytes()).unwrap_or_default();
        let path = PathBytes::new(&[below.strip_suffix(b"/").unwrap_or(below), step.path.as_bytes()].concat());
        format!("{} {path}", said(step.action))
    };
    let mut unread = failures(&plan.failures);
    unread.extend(plan.not_found.iter().map(|path| format!("{path}: the archive does not have it")));
    RestorePlanView {
        totals: plan.totals,
        free_bytes: Some(plan.free_bytes),
        fits: plan.fits,
        steps: plan.steps.iter().map(step).collect(),
        more_steps: plan.more_steps,
        failures: unread,
    }
}

fn said(action: StepAction) -> &'static str {
    match action {
        StepAction::Create => "make",
        StepAction::Overwrite => "overwrite",
        StepAction::Unchanged => "leave, the same:",
        StepAction::Keep => "keep what is there:",
        StepAction::FolderInTheWay => "leave out, a folder is in its place:",
        StepAction::NoFolder => "leave out, something else is in the folder's place:",
        StepAction::NotReached => "leave out, its folder cannot be made:",
    }
}

pub(super) fn restore(view: recovery::RestoreView) -> RestoreView {
    RestoreView {
        restore: view.id,
        owner: view.owner.to_string(),
        archive: view.archive.and_then(|archive| archive.number).unwrap_or_default().0,
        target: view.target.display().to_string(),
        state: state(view.state).to_owned(),
        files: view.files_done,
        bytes: view.bytes_done,
        bytes_total: view.totals.map(|totals| totals.written_bytes()),
        fetched_bytes: view.fetched_bytes,
        bytes_per_s: view.bytes_per_s,
        eta_ms: view.eta_ms,
        error: view.error,
        failed_files: view.failures.count,
        failures: failures(&view.failures),
    }
}

fn state(state: RestoreState) -> &'static str {
    match state {
        RestoreState::Waiting => "waiting",
        RestoreState::Planning | RestoreState::Running => "running",
        RestoreState::Done => "done",
        RestoreState::DoneWithFailures => "done with failures",
        RestoreState::Failed => "failed",
        RestoreState::Cancelled => "cancelled",
    }
}
