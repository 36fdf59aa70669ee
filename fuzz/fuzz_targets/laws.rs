//! One binary for all targets, since each would link the same crates: `SHOAL_FUZZ_TARGET` says which law is tried.
//! `cargo xtask fuzz` runs one after the other, with the feature of the crate it is of.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Law = fn(&[u8]);
type Target = (&'static str, Law, fn() -> Vec<Vec<u8>>);

const ALL: &[&[Target]] = &[
    #[cfg(feature = "agent")]
    shoal::fuzzing::TARGETS,
    #[cfg(feature = "consensus")]
    shoal_consensus::fuzzing::TARGETS,
    #[cfg(feature = "dav")]
    shoal_dav::fuzzing::TARGETS,
    #[cfg(feature = "dci")]
    dci_proto::fuzzing::TARGETS,
    #[cfg(feature = "ledger")]
    shoal_ledger::fuzzing::TARGETS,
    #[cfg(feature = "mailbox")]
    shoal_mailbox::fuzzing::TARGETS,
    #[cfg(feature = "net")]
    shoal_net::fuzzing::TARGETS,
    #[cfg(feature = "store")]
    shoal_store::fuzzing::TARGETS,
];

fn law() -> Law {
    let wanted = std::env::var("SHOAL_FUZZ_TARGET").unwrap_or_default();
    let found = ALL.concat().into_iter().find(|(name, ..)| *name == wanted);
    found.map(|(_, law, _)| law).expect("SHOAL_FUZZ_TARGET names a folder of fuzz/corpus, of a crate built in")
}

fuzz_target!(|bytes: &[u8]| {
    static LAW: OnceLock<Law> = OnceLock::new();
    LAW.get_or_init(law)(bytes);
});
