//! Trying each operation of a trace as the last thing that happened.

use std::collections::BTreeSet;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use tempfile::TempDir;

use super::disk::{Disk, Image, Known, Loss};
use super::recording::{Operation, Recording, Trace, identity};

/// Seeds tried for [`Loss::Mixed`] at each point.
const MIXTURES: u64 = 2;

/// One way in which a crash at one point may end.
pub struct Crash<'a> {
    /// Operations done before it.
    pub operations: usize,
    /// What happened to that which was not synced.
    pub loss: Loss,
    /// The last of them.
    pub last: Option<&'a Operation>,
    /// The marks set before it.
    pub marks: &'a [u64],
    image: Image,
    disk: &'a Disk,
}

impl Crash<'_> {
    /// Lays out what is left in an empty directory.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn lay_out(&self, root: &Path) -> io::Result<()> {
        lay_out(&self.image, root).map(drop)
    }

    /// Lays out all there is, as when only the process died, and records what its successor does: whatever was not
    /// synced is not durable yet, and may still be lost.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn resume(&self, root: &Path) -> io::Result<Recording> {
        let known = lay_out(&self.disk.image(Loss::Nothing), root)?;
        Recording::resume(root, self.disk.clone(), known)
    }
}

impl Disk {
    /// Lays out what a crash now leaves in an empty directory.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn lay_out(&self, loss: Loss, root: &Path) -> io::Result<()> {
        lay_out(&self.image(loss), root).map(drop)
    }
}

/// What trying all points came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Operations after which a crash was tried.
    pub points: usize,
    /// Different disks that were opened.
    pub disks: usize,
    /// What was wrong, and after what.
    pub violations: Vec<String>,
}

/// Lays out what a crash after each operation may leave, and has it judged. A disk like one judged before, with the
/// same marks, is not judged again. Ends when it has found as many violations as asked for.
pub fn crash_everywhere(
    trace: &Trace,
    violations_limit: usize,
    mut judge: impl FnMut(&Crash<'_>) -> Result<(), String>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut disk, mut marks, mut seen) = (trace.base.clone(), Vec::new(), BTreeSet::new());
    for operations in 0..=trace.operations.len() {
        outcome.points += 1;
        let simple = [Loss::Everything, Loss::Nothing, Loss::Bytes, Loss::Names, Loss::Torn];
        let mixed = (0..MIXTURES).map(|mixture| Loss::Mixed(operations as u64 * MIXTURES + mixture));
        for loss in simple.into_iter().chain(mixed) {
            let image = disk.image(loss);
            if !seen.insert(fingerprint(&image, &marks)) {
                continue;
            }
            outcome.disks += 1;
            let last = operations.checked_sub(1).and_then(|at| trace.operations.get(at));
            let crash = Crash { operations, last, loss, marks: &marks, image, disk: &disk };
            let judged = std::panic::catch_unwind(AssertUnwindSafe(|| judge(&crash)));
            if let Err(wrong) = judged.unwrap_or_else(|_| Err("it panicked".to_owned())) {
                let last = last.map_or("nothing".to_owned(), tell);
                outcome.violations.push(format!("after operation {operations} ({last}), {loss:?}: {wrong}"));
                if outcome.violations.len() >= violations_limit {
                    return outcome;
                }
            }
        }
        if let Some(operation) = trace.operations.get(operations) {
            disk.apply(operation);
            if let Operation::Mark(number) = operation {
                marks.push(*number);
            }
        }
    }
    outcome
}

fn tell(operation: &Operation) -> String {
    match operation {
        Operation::Write { file, offset, bytes } => format!("write {} bytes at {offset} of file {file}", bytes.len()),
        other => format!("{other:?}"),
    }
}

fn fingerprint(image: &Image, marks: &[u64]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    marks.iter().for_each(|mark| {
        hasher.update(&mark.to_le_bytes());
    });
    for (path, content) in image {
        hasher.update(path.as_os_str().as_encoded_bytes()).update(&[0]);
        if let Some((_, bytes)) = content {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        }
    }
    *hasher.finalize().as_bytes()
}

fn lay_out(image: &Image, root: &Path) -> io::Result<Known> {
    let mut known = Known::new();
    // In the order of their names, so a directory comes before what is in it.
    for (path, content) in image {
        let path = root.join(path);
        match content {
            None => std::fs::create_dir_all(&path)?,
            Some((number, bytes)) => {
                std::fs::write(&path, bytes)?;
                known.insert(identity(&std::fs::metadata(&path)?), *number);
            }
        }
    }
    Ok(known)
}

/// A directory in memory where the system has one: thousands of disks are laid out and synced.
///
/// # Errors
/// If none can be made.
pub fn scratch_directory() -> io::Result<TempDir> {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())
}
