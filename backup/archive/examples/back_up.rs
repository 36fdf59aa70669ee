//! Makes one archive of a folder: `back_up REPOSITORY FOLDER NUMBER`, the passphrase in `SHOAL_PASSPHRASE`. For tests that
//! kill it.

use std::path::Path;
use std::sync::Arc;

use shoal_archive::{BackUp, Engine, Repository, Watch};
use shoal_backup::ArchiveId;
use shoal_backup::plan::Plan;
use shoal_backup::schedule::Mode;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, repository, folder, number] = arguments.as_slice() else {
        return Err("usage: back_up REPOSITORY FOLDER NUMBER".into());
    };
    let passphrase = std::env::var("SHOAL_PASSPHRASE")?;
    let engine = Engine::open(Path::new(repository), &passphrase)?;
    let what = BackUp {
        plan: Arc::new(Plan { roots: vec![folder.as_str().into()], ..Plan::default() }),
        host: "pc".to_owned(),
        number: ArchiveId(number.parse()?),
        mode: Mode::Delta,
        parent: None,
        reread: false,
        only_changes: false,
    };
    let made = engine.back_up(&what, &Arc::new(Watch::silent()))?;
    println!("{} {}", made.archive.name, made.added.iter().map(|object| object.size_bytes).sum::<u64>());
    Ok(())
}
