//! What disks do to shards on their own: bits flip, files end early, vanish, or turn out to be another.
//!
//! Only shards of one agent are touched, so no stripe loses more than one. Which files is drawn from the run's seed and
//! from what is there.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use shoal_testkit::RandomBytes;

/// Damages so many shards in a store directory; says what was done to which file.
pub(super) fn damage(store: &Path, count: usize, random: &mut RandomBytes) -> Result<Vec<String>> {
    let mut files = shard_files(&store.join("shards"))?;
    let segments = segment_files(&store.join("segments"));
    let mut done = Vec::new();
    for index in 0..count {
        // Every other one is a small shard's, among many in one file: there only bits flip.
        if index % 2 == 1 && !segments.is_empty() {
            let segment = &segments[(random.next_u64() % segments.len() as u64) as usize];
            let name = segment.file_name().unwrap_or_default().to_string_lossy();
            done.extend(flip(segment, random).ok().map(|at| format!("{name}: bit flipped at byte {at}")));
            continue;
        }
        let Some(file) = take_one(&mut files, random) else { break };
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A file may be dropped by its owner while it is looked at; that is no damage.
        let result = match random.next_u64() % 4 {
            0 => flip(&file, random).map(|at| format!("{name}: bit flipped at byte {at}")),
            1 => truncate(&file, random).map(|length| format!("{name}: truncated to {length} bytes")),
            2 => fs::remove_file(&file).map(|()| format!("{name}: removed")),
            _ => match take_one(&mut files, random) {
                None => flip(&file, random).map(|at| format!("{name}: bit flipped at byte {at}")),
                Some(other) => swap(&file, &other).map(|()| {
                    format!("{name}: swapped with {}", other.file_name().unwrap_or_default().to_string_lossy())
                }),
            },
        };
        done.extend(result.ok());
    }
    Ok(done)
}

fn shard_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for directory in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        for entry in fs::read_dir(directory?.path())?.flatten() {
            let name = entry.file_name();
            if !name.to_string_lossy().ends_with(".tmp") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn segment_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    files.sort();
    files
}

fn take_one(files: &mut Vec<PathBuf>, random: &mut RandomBytes) -> Option<PathBuf> {
    let count = files.len() as u64;
    (count > 0).then(|| files.swap_remove((random.next_u64() % count) as usize))
}

fn flip(file: &Path, random: &mut RandomBytes) -> std::io::Result<u64> {
    let file = File::options().read(true).write(true).open(file)?;
    let at = random.next_u64() % file.metadata()?.len().max(1);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << (random.next_u64() % 8);
    file.write_all_at(&byte, at)?;
    Ok(at)
}

fn truncate(file: &Path, random: &mut RandomBytes) -> std::io::Result<u64> {
    let file = File::options().write(true).open(file)?;
    let length = random.next_u64() % file.metadata()?.len().max(1);
    file.set_len(length)?;
    Ok(length)
}

fn swap(one: &Path, other: &Path) -> std::io::Result<()> {
    let aside = one.with_extension("swapping.tmp");
    fs::rename(one, &aside)?;
    fs::rename(other, one)?;
    fs::rename(&aside, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_shards_are_damaged_as_asked_and_the_same_seed_damages_the_same() {
        let what = |seed| {
            let store = tempfile::tempdir().expect("folder");
            let folder = store.path().join("shards/ab");
            fs::create_dir_all(&folder).expect("made");
            for index in 0..20 {
                fs::write(folder.join(format!("shard.{index}")), vec![index; 5_000]).expect("written");
            }
            damage(store.path(), 6, &mut RandomBytes::new(seed)).expect("damaged")
        };
        assert_eq!(what(1).len(), 6);
        assert_eq!(what(1), what(1));
        assert_ne!(what(1), what(2));
    }
}
