//! The launcher by itself, for this crate's tests and examples; an agent's binary has it as a hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    shoal_peerlets::launcher::main(&arguments)
}
