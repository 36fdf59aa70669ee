//! Every write of a holder is tried as the last thing that happened: what it confirmed is there, and what is there is a
//! valid repository.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup::aging::GRACE_MS;
use shoal_backup::{Object, ObjectKind, ObjectName};
use shoal_backup_service::call::{Answer, Ask, names_from_bytes};
use shoal_backup_service::files::Objects;
use shoal_backup_service::holder::{Holder, HolderParts};
use shoal_backup_service::testing::{Hub, TestMachine, TestVerifier};
use shoal_files::testing::{Crash, Loss, Operation, Recording, Trace, crash_everywhere, scratch_directory};

use crate::pool::{OWNER, Pool, SHARE_BYTES, share};

const HOLDER: AgentId = AgentId([1; 32]);
/// Marks from here on: a sequence of the catalogue was confirmed. Below: an object was.
const SEQUENCES: u64 = 1_000;

fn open(root: &Path) -> Result<Holder, String> {
    let parts = HolderParts {
        folder: root.join("held"),
        network: Hub::default().seen_by(HOLDER),
        machine: Arc::new(TestMachine::default()),
        verifier: Arc::new(TestVerifier),
        share: share(SHARE_BYTES, 0),
        grace_ms: GRACE_MS,
    };
    Holder::open(parts).map_err(|error| error.to_string())
}

/// Two archives come, the first is deleted, its grace time passes.
async fn recorded() -> (Trace, Vec<Object>) {
    let mut pool = Pool::new();
    let pc = &mut pool.pcs[0];
    pc.folder = scratch_directory().unwrap();
    let root = pc.folder.path().to_owned();
    let recording = Recording::start(&root).unwrap();
    pool.restart(0);
    let mut objects = pool.owner.all();
    let mut send = async |pool: &Pool, archive: Vec<Object>| {
        objects.extend(&archive);
        pool.send_catalogue(0).await;
        recording.mark(SEQUENCES + pool.standing(0).await.sequence);
        for (number, object) in (0..).zip(&objects) {
            pool.put(0, object, 2_000).await.unwrap();
            recording.mark(number);
        }
    };
    let first = pool.owner.archive(1, 2, 3_000);
    send(&pool, first.clone()).await;
    let second = pool.owner.archive(2, 1, 3_000);
    send(&pool, second).await;
    for object in first.iter().rev() {
        pool.owner.delete(object.name);
    }
    pool.send_catalogue(0).await;
    recording.mark(SEQUENCES + pool.standing(0).await.sequence);
    pool.machine.pass(GRACE_MS);
    pool.pcs[0].holder.drop_due().await;
    pool.restart(0);
    assert_eq!(pool.pcs[0].status().trash_objects, 0);
    (recording.stop(), objects)
}

async fn look(root: &Path, marks: &[u64], objects: &[Object]) -> Result<(), String> {
    let holder = open(root)?;
    let standing = match holder.answer(OWNER, Ask::Standing { owner: OWNER }, Bytes::new()).await {
        Ok((Answer::Standing(standing), _)) => standing,
        _ if marks.is_empty() => return Ok(()),
        other => return Err(format!("{other:?}")),
    };
    let sequence = marks.iter().filter_map(|mark| mark.checked_sub(SEQUENCES)).max().unwrap_or(0);
    if standing.sequence < sequence {
        return Err(format!("it confirmed {sequence} and has {}", standing.sequence));
    }
    let ask = Ask::Held { owner: OWNER, after: None };
    let (_, body) = holder.answer(OWNER, ask, Bytes::new()).await.map_err(|error| error.to_string())?;
    let held: BTreeSet<ObjectName> = names_from_bytes(&body).unwrap_or_default().into_iter().collect();
    let folder = Objects::open(&holder.repository(OWNER).ok_or("it holds nothing")?);
    let on_disk = folder.list().map_err(|error| error.to_string())?;
    let is_there = |object: &Object| on_disk.iter().any(|found| found.name == object.name);
    for found in &on_disk {
        let bytes = folder.read(&found.name, 0, 10_000).map_err(|error| error.to_string())?;
        if ObjectName::of(&bytes) != found.name {
            return Err(format!("{found:?} is not whole"));
        }
    }
    let deleting = standing.sequence > objects.len() as u64;
    for (number, object) in (0..).zip(objects) {
        let confirmed = marks.contains(&number);
        if confirmed && !held.contains(&object.name) && !(deleting && object.archive.0 == 1) {
            return Err(format!("it confirmed {object:?} and does not hold it"));
        }
        // What an archive needs is there when its snapshot is.
        if object.kind == ObjectKind::Snapshot && is_there(object) {
            let needed = objects.iter().filter(|needed| needed.archive.0 == 0 || needed.archive == object.archive);
            if let Some(missing) = needed.clone().find(|needed| !is_there(needed)) {
                return Err(format!("an archive is there without {missing:?}"));
            }
        }
    }
    Ok(())
}

/// What a holder says it has: sequence and objects.
async fn says(root: &Path) -> Result<Option<(u64, Vec<ObjectName>)>, String> {
    let holder = open(root)?;
    let Ok((Answer::Standing(standing), _)) = holder.answer(OWNER, Ask::Standing { owner: OWNER }, Bytes::new()).await
    else {
        return Ok(None);
    };
    let ask = Ask::Held { owner: OWNER, after: None };
    let (_, body) = holder.answer(OWNER, ask, Bytes::new()).await.map_err(|error| error.to_string())?;
    Ok(Some((standing.sequence, names_from_bytes(&body).unwrap_or_default())))
}

/// The process dies, the next one says what it has, and then the power goes: that is there.
fn judge_second_life() -> impl FnMut(&Crash<'_>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    move |crash| {
        let (root, after) = (scratch_directory().expect("a directory"), scratch_directory().expect("a directory"));
        let recording = crash.resume(root.path()).expect("resumes");
        let said = runtime.block_on(says(root.path()))?;
        recording.stop().end().lay_out(Loss::Everything, after.path()).expect("lays out");
        let Some((sequence, held)) = said else { return Ok(()) };
        match runtime.block_on(says(after.path()))? {
            Some((found, holds)) if found >= sequence && held.iter().all(|name| holds.contains(name)) => Ok(()),
            found => Err(format!("it said {sequence} and {} objects, and then had {found:?}", held.len())),
        }
    }
}

fn judge<'a>(objects: &'a [Object]) -> impl FnMut(&Crash<'_>) -> Result<(), String> + 'a {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    move |crash| {
        let root = scratch_directory().expect("a directory");
        crash.lay_out(root.path()).expect("lays out");
        runtime.block_on(look(root.path(), crash.marks, objects))
    }
}

#[test]
fn whatever_was_written_last_before_a_crash_what_was_confirmed_is_there_and_valid() {
    let (trace, objects) = tokio::runtime::Runtime::new().unwrap().block_on(recorded());
    let outcome = crash_everywhere(&trace, 10, judge(&objects));
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    println!("{} operations, {} different disks opened", outcome.points, outcome.disks);
    assert!(outcome.points > 100 && outcome.disks > 100, "{} points, {} disks", outcome.points, outcome.disks);
    let outcome = crash_everywhere(&trace, 10, judge_second_life());
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    // It finds what it is for.
    let faulty = trace.without(|operation| matches!(operation, Operation::SyncDirectory { .. }));
    assert!(!crash_everywhere(&faulty, 1, judge(&objects)).violations.is_empty());
}
