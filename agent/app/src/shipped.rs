//! The peerlets that come with Shoal: their manifests, which the agent installs, and their programs, which are in this
//! binary as a hidden subcommand.

use std::process::ExitCode;

use crate::config::AgentConfig;
use crate::messages::Shipped;

/// The hidden subcommand that is their programs.
pub(crate) const PROGRAM_WORD: &str = "peerlet-program";
/// The exit status where there is no such program: as shells have it.
const UNKNOWN_STATUS: u8 = 127;

/// What comes with Shoal, as this agent's owner has configured it.
pub(crate) fn all(config: &AgentConfig) -> Vec<Shipped> {
    let manifests = [
        (shoal_chat::MESSAGE_TYPE, Ok(shoal_chat::MANIFEST.to_owned())),
        (shoal_file_exchange::TYPE, Ok(shoal_file_exchange::MANIFEST.to_owned())),
        (shoal_run::MESSAGE_TYPE, shoal_run::manifest(&config.run)),
        (shoal_whiteboard::MESSAGE_TYPE, Ok(shoal_whiteboard::MANIFEST.to_owned())),
    ];
    let mut shipped = Vec::new();
    for (kind, manifest) in manifests {
        match manifest {
            Ok(manifest) => shipped.push(Shipped { kind, manifest }),
            Err(why) => tracing::error!(kind, why, "a peerlet that comes with Shoal has no manifest"),
        }
    }
    shipped
}

/// Runs one of their programs on standard input and output.
pub(crate) fn run(kind: &str) -> ExitCode {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let status = match kind {
        shoal_chat::MESSAGE_TYPE => shoal_chat::run(stdin.lock(), stdout.lock()),
        shoal_file_exchange::TYPE => shoal_file_exchange::program::run(stdin.lock(), stdout.lock()),
        shoal_whiteboard::MESSAGE_TYPE => shoal_whiteboard::run(stdin.lock(), stdout.lock()),
        shoal_run::MESSAGE_TYPE => return ExitCode::from(shoal_run::run(stdin, stdout)),
        _ => {
            eprintln!("no peerlet {kind} comes with this version of Shoal");
            return ExitCode::from(UNKNOWN_STATUS);
        }
    };
    u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from)
}
