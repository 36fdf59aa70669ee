//! What comes from outside, however it is made, stops nothing: manifests, what programs print, what a launcher reports.

use proptest::prelude::*;
use shoal_peerlets::framing::{LineCutter, parse_reply};
use shoal_peerlets::launcher::{Report, Spec};
use shoal_peerlets::manifest::Manifest;

/// Bytes of the lines of this test, at most.
const LIMIT_BYTES: usize = 40;

/// Text of pieces that manifests and replies are made of.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(
            "type = \"t\"\nversion = \"1.0.0\"\ndescription = \"d\"\ncommand = [\"c\"]\nmode = \"oneshot\"\n"
                .to_owned()
        ),
        Just("[limits]\ntime_s = ".to_owned()),
        Just("{\"in_reply_to\":".to_owned()),
        Just("\"text\":\"".to_owned()),
        Just("\",\"status\":".to_owned()),
        "[ -~]{0,8}",
        "\\PC{0,4}",
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_manifest_or_is_refused(text in text()) {
        if let Ok(manifest) = Manifest::parse(&text) {
            prop_assert!(!manifest.command.is_empty());
        }
        // That none of them panics is all there is to it.
        let _ = (parse_reply(&text), serde_json::from_str::<Report>(&text).is_ok());
        let _ = serde_json::from_str::<Spec>(&text).is_ok();
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
        cuts in proptest::collection::vec(1..50usize, 1..20),
    ) {
        let mut whole = LineCutter::new(LIMIT_BYTES);
        let at_once = whole.push(&bytes);
        let mut parts = LineCutter::new(LIMIT_BYTES);
        let (mut rest, mut lines, mut failed) = (bytes.as_slice(), Vec::new(), false);
        for cut in cuts.iter().cycle() {
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            match parts.push(part) {
                Ok(more) => lines.extend(more),
                Err(_) => failed = true,
            }
            rest = after;
            if rest.is_empty() || failed {
                break;
            }
        }
        prop_assert_eq!(failed, at_once.is_err());
        if let Ok(at_once) = at_once {
            prop_assert_eq!(lines, at_once);
            prop_assert_eq!(parts.rest(), whole.rest());
        }
    }
}
