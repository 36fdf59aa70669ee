//! What the tests of archives share: trees of files, what they are compared by, the stock `restic`.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "each test file uses a part; a test may panic")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use shoal_archive::{BackUp, BackedUp, Engine, Repository, Restore, Watch};
use shoal_backup::plan::{PathBytes, Plan};
use shoal_backup::recovery::Existing;
use shoal_backup::schedule::Mode;
use shoal_backup::{ArchiveId, ObjectName, sha256};

pub(crate) const PASSPHRASE: &str = "a passphrase for tests";

/// A repository and a folder to back up, both under a folder that goes with it.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) engine: Engine,
    pub(crate) made: std::cell::Cell<u64>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        let engine = Engine::init(&dir.path().join("repository"), PASSPHRASE, "pc").unwrap();
        Self { dir, engine, made: std::cell::Cell::new(0) }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan { roots: vec![path_bytes(&self.home())], ..Plan::default() }
    }

    pub(crate) fn request(&self, plan: Plan) -> BackUp {
        self.made.set(self.made.get() + 1);
        BackUp {
            plan: Arc::new(plan),
            host: "pc".to_owned(),
            number: ArchiveId(self.made.get()),
            mode: Mode::Delta,
            parent: None,
            reread: false,
            only_changes: false,
        }
    }

    pub(crate) fn back_up(&self) -> BackedUp {
        self.engine.back_up(&self.request(self.plan()), &Arc::new(Watch::silent())).unwrap()
    }

    pub(crate) fn restore_to(&self, archives: &[ObjectName], target: &str) -> shoal_archive::Outcome {
        self.restore(archives, target).run(&self.engine, &Watch::silent()).unwrap()
    }

    pub(crate) fn restore(&self, archives: &[ObjectName], target: &str) -> Restore {
        let target = self.path(target);
        Restore { archives: archives.to_vec(), target, ticked: vec![], existing: Existing::Overwrite }
    }

    /// Where something of the home folder is after a restore to `target`.
    pub(crate) fn restored(&self, target: &str) -> PathBuf {
        self.path(target).join(self.home().strip_prefix("/").unwrap())
    }

    pub(crate) fn restic(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("restic");
        command
            .arg("-r")
            .arg(self.engine.folder())
            .arg("--no-cache")
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSPHRASE);
        command.output().expect("restic is needed for this test: `apt-get install restic`")
    }

    pub(crate) fn restic_ok(&self, arguments: &[&str]) -> String {
        let output = self.restic(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "restic {arguments:?}\n{out}\n{err}");
        out.into_owned()
    }
}

pub(crate) fn path_bytes(path: &Path) -> PathBytes {
    PathBytes::new(path.as_os_str().as_bytes())
}

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A tree with everything that a user's files can be.
pub(crate) fn everything(home: &Path) {
    let write = |name: &[u8], bytes: &[u8]| fs::write(home.join(OsStr::from_bytes(name)), bytes).unwrap();
    write(b"empty", b"");
    write(b"letter.txt", b"Dear Ana,\n");
    write(b"large", &noise(1, 9 << 20));
    write(b"not utf-8 \xff\xfe\\ \"quoted\"\n", b"x");
    write(b"set-user-id", b"#!");
    fs::set_permissions(home.join("set-user-id"), fs::Permissions::from_mode(0o4755)).unwrap();
    write(b"read-only", b"r");
    fs::set_permissions(home.join("read-only"), fs::Permissions::from_mode(0o400)).unwrap();
    let deep = home.join("a/b/c/d/e");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("leaf"), "leaf").unwrap();
    fs::create_dir(home.join("a b")).unwrap();
    fs::write(home.join("a b/between"), "tree order").unwrap();
    fs::create_dir(home.join("empty folder")).unwrap();
    fs::create_dir(home.join("closed")).unwrap();
    fs::write(home.join("closed/in it"), "1").unwrap();
    fs::hard_link(home.join("letter.txt"), home.join("a/the same letter")).unwrap();
    symlink("letter.txt", home.join("link")).unwrap();
    symlink("/nowhere/at/all", home.join("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\xfe"), home.join("link not utf-8")).unwrap();
    symlink("..", home.join("a/loop")).unwrap();
    let node = |name: &str, kind, device| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, home.join(name), kind, mode, device).unwrap();
    };
    node("pipe", rustix::fs::FileType::Fifo, 0);
    let sparse = fs::File::create(home.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 33 << 20).unwrap();
    rustix::fs::setxattr(home.join("letter.txt"), "user.mood", b"good\0\xff", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(home.join("a"), "user.of a folder", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    let old = rustix::fs::Timespec { tv_sec: -86_400, tv_nsec: 123_456_789 };
    let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
    for name in ["letter.txt", "empty folder", "dangling", "a/b"] {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, home.join(name), &times, flags).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(home.join("a b/between"), Some(1234), Some(4321)).unwrap();
        node("device", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    }
    fs::set_permissions(home.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
}

/// Everything about a tree that a restore must bring back, by path.
pub(crate) fn describe(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut all = BTreeMap::new();
    let mut inodes: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let kind = meta.file_type();
            let what = if kind.is_dir() {
                folders.push(path.clone());
                "folder".to_owned()
            } else if kind.is_symlink() {
                format!("link to {:?}", fs::read_link(&path).unwrap())
            } else if kind.is_file() {
                format!("file of {} {:02x?}", meta.len(), sha256(&[&fs::read(&path).unwrap()]))
            } else if kind.is_char_device() || kind.is_block_device() {
                format!("device {}", meta.rdev())
            } else {
                format!("{kind:?}")
            };
            let mut attributes = String::new();
            if !kind.is_symlink() {
                let mut names = Vec::with_capacity(4_096);
                rustix::fs::llistxattr(&path, rustix::buffer::spare_capacity(&mut names)).unwrap();
                for attribute in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
                    let mut value = Vec::with_capacity(4_096);
                    rustix::fs::lgetxattr(&path, attribute, rustix::buffer::spare_capacity(&mut value)).unwrap();
                    attributes += &format!(" {}={value:?}", String::from_utf8_lossy(attribute));
                }
            }
            let (mode, time) = (meta.mode(), (meta.mtime(), meta.mtime_nsec()));
            let said = format!("{what} {mode:o} {}:{} {time:?}{attributes}", meta.uid(), meta.gid());
            all.insert(name.clone(), said);
            if meta.nlink() > 1 && !kind.is_dir() {
                let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone());
                if *first > name {
                    *first = name;
                }
            }
        }
    }
    for first in inodes.values() {
        all.entry(first.clone()).and_modify(|said| said.push_str(" has other names"));
    }
    all
}

/// Fails with what differs.
#[track_caller]
pub(crate) fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (describe(one), describe(other));
    for (path, said) in &one {
        let name = String::from_utf8_lossy(path);
        assert_eq!(other.get(path), Some(said), "{name}");
    }
    let more: Vec<_> = other.keys().filter(|path| !one.contains_key(*path)).collect();
    assert!(more.is_empty(), "more than there should be: {more:?}");
}
