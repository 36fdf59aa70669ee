//! A peerlet in Rust: says every line again, backwards. It needs nothing but the standard library, and knows no network.
//!
//! Its manifest: `command = ["./reverse"]`, `mode = "service"`.

use std::io::{self, BufRead as _, Write as _};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let backwards: String = line?.chars().rev().collect();
        writeln!(out, "{backwards}")?;
        // Each answer leaves when it is ready.
        out.flush()?;
    }
    Ok(())
}
