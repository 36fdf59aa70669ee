//! `cargo xtask hops`: four agents on four hosts in a row, each of which sees only its neighbours, are one pool and send
//! each other messages. Needs
//! root and `ip`.

mod messages;
mod row;

use std::time::Instant;

use anyhow::{Result, ensure};
use row::{Row, row};

use crate::netns::{Options, ensure_possible};

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure_possible()?;
    let binary = options.binary()?;
    let begin = Instant::now();
    let row = row(&binary)?;
    println!("hops: all {} agents are up at every host, after {:.1} s", row.len(), begin.elapsed().as_secs_f32());
    row.told(the_ends_share_a_file(&row))?;
    let found = messages::messages_find_their_way(&row);
    row.told(found)
}

/// A file written at the first host is read at the last, and the other way round.
fn the_ends_share_a_file(row: &Row) -> Result<()> {
    let last = row.len() - 1;
    for (from, to, seed) in [(0, last, 1), (last, 0, 2)] {
        let bytes = shoal_testkit::RandomBytes::new(seed).take(9_000_000);
        let file = row.folder().join("file");
        std::fs::write(&file, &bytes)?;
        let path = format!("pool/from-{from}");
        row.host(from).put(&path, &file)?;
        let begin = Instant::now();
        let read = row.host(to).get(&path)?;
        ensure!(read == bytes, "host {to} reads other bytes than host {from} wrote");
        println!(
            "hops: {} bytes of host {from} read at host {to} in {:.1} s",
            read.len(),
            begin.elapsed().as_secs_f32()
        );
    }
    Ok(())
}
