//! A copy of a real repository: our engine and the stock `restic` read it from the holder's folder.

use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_archive::{BackUp, Engine, Repository, Watch};
use shoal_backup::catalogue::{Catalogue, Op};
use shoal_backup::plan::{PathBytes, Plan};
use shoal_backup::schedule::Mode;
use shoal_backup::{ArchiveId, Object, ObjectKind};
use shoal_backup_service::files::Objects;
use shoal_backup_service::testing::TestSigner;

use crate::pool::{OWNER, Pool, noise};

const PASSPHRASE: &str = "a passphrase for tests";

#[tokio::test]
async fn restic_reads_what_a_holder_has_and_we_list_what_the_engine_wrote() {
    let mut pool = Pool::new();
    let dir = tempfile::tempdir().unwrap();
    let (home, own) = (dir.path().join("home"), dir.path().join("own/repo"));
    std::fs::create_dir_all(&home).unwrap();
    std::fs::create_dir_all(dir.path().join("own")).unwrap();
    std::fs::write(home.join("letter.txt"), "Dear Ana,\n").unwrap();
    std::fs::write(home.join("noise"), noise(5, 3_000_000)).unwrap();
    let engine = Engine::init(&own, PASSPHRASE, "pc").unwrap();
    let objects = Objects::open(&own);
    let root = PathBytes::new(std::os::unix::ffi::OsStrExt::as_bytes(home.as_os_str()));
    let plan = Arc::new(Plan { roots: vec![root], ..Plan::default() });
    let number = ArchiveId(1);
    let what =
        BackUp { plan, host: "pc".into(), number, mode: Mode::Delta, parent: None, reread: false, only_changes: false };
    engine.back_up(&what, &Arc::new(Watch::silent())).unwrap();

    let listed = objects.list().unwrap();
    assert_eq!(listed, engine.objects().unwrap());
    let config = listed.iter().find(|object| object.kind == ObjectKind::Config).unwrap();
    assert_eq!(objects.find(&config.name).unwrap().as_ref(), Some(config));
    assert_eq!(objects.read(&config.name, 0, 1 << 20).unwrap(), std::fs::read(own.join("config")).unwrap());

    // The owner says so, and a holder gets all of it.
    {
        let mut state = pool.owner.state();
        (state.catalogue, state.objects) = (Catalogue::new(OWNER), Default::default());
        for object in &listed {
            let archive = if object.kind <= ObjectKind::Key { ArchiveId(0) } else { number };
            let object = Object { name: object.name, kind: object.kind, size_bytes: object.size_bytes, archive };
            state.catalogue.append(&TestSigner(OWNER), 0, Op::Add(object)).unwrap();
            let bytes = objects.read(&object.name, 0, usize::try_from(object.size_bytes).unwrap()).unwrap();
            state.objects.insert(object.name, Bytes::clone(&bytes));
        }
    }
    pool.send_all(0).await;
    pool.assert_whole(0);
    pool.restart(0);
    let held = pool.pcs[0].holder.repository(OWNER).unwrap();
    assert_eq!(pool.pcs[0].holder.repository(AgentId([9; 32])), None);
    let copy = Engine::open(&held, PASSPHRASE).unwrap();
    assert!(copy.check(true).unwrap().is_sound());
    let output = Command::new("restic")
        .arg("-r")
        .arg(&held)
        .args(["--no-cache", "check", "--read-data"])
        .env("RESTIC_PASSWORD", PASSPHRASE)
        .output()
        .expect("restic is needed for this test: `apt-get install restic`");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("no errors were found"), "{said}");
}
