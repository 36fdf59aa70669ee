//! URL paths: strictly decoded on the way in, percent-encoded on the way out.

use shoal_ledger::{NodePath, VolumeRecord};
use unicode_normalization::UnicodeNormalization;

/// Bytes of a URL path, at most: a path of the deepest folders with names of 24 bytes, encoded.
const PATH_LIMIT_BYTES: usize = 16 * 1024;

/// Why a URL path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHref {
    /// Bad percent-encoding, not UTF-8, NUL, an encoded slash, `.` or `..`.
    Malformed,
    /// Longer than any path can be.
    TooLong,
}

/// A URL path, decoded: the names from the host's root down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UrlPath {
    pub(crate) names: Vec<String>,
    /// Whether it ended with a slash.
    pub(crate) slash: bool,
}

impl UrlPath {
    /// Decodes an absolute URL path. Clients resolve `.` and `..` themselves; what still has them means harm.
    pub(crate) fn parse(path: &str) -> Result<Self, BadHref> {
        if path.len() > PATH_LIMIT_BYTES {
            return Err(BadHref::TooLong);
        }
        if !path.starts_with('/') {
            return Err(BadHref::Malformed);
        }
        let names = path.split('/').filter(|part| !part.is_empty()).map(decode_name).collect::<Result<_, _>>()?;
        Ok(Self { names, slash: path.ends_with('/') })
    }

    /// As an encoded URL path, ending with a slash if asked for.
    pub(crate) fn encode(&self, slash: bool) -> String {
        let mut href = String::from("/");
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                href.push('/');
            }
            encode_name(&mut href, name);
        }
        if slash && !self.names.is_empty() {
            href.push('/');
        }
        href
    }
}

fn decode_name(part: &str) -> Result<String, BadHref> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = after else { return Err(BadHref::Malformed) };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(BadHref::Malformed);
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = after;
    }
    let name = String::from_utf8(bytes).map_err(|_| BadHref::Malformed)?;
    if name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(BadHref::Malformed);
    }
    Ok(name)
}

/// Appends a name, percent-encoded but for RFC 3986's unreserved characters.
pub(crate) fn encode_name(out: &mut String, name: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// The volume of a name; names that look alike are the same.
pub(crate) fn volume_named<'v>(volumes: &'v [VolumeRecord], name: &str) -> Option<&'v VolumeRecord> {
    let exact = volumes.iter().find(|volume| volume.name == name);
    exact.or_else(|| volumes.iter().find(|volume| volume.name.nfc().eq(name.nfc())))
}

/// The URL path of a node, with a slash at the end if asked for.
pub(crate) fn href_of(volumes: &[VolumeRecord], path: &NodePath, slash: bool) -> String {
    let volume = volumes.iter().find(|volume| volume.id == path.volume);
    let mut names = vec![volume.map(|volume| volume.name.clone()).unwrap_or_default()];
    names.extend(path.names.iter().cloned());
    UrlPath { names, slash }.encode(slash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_decoded_name_by_name() {
        let path = UrlPath::parse("/pool//a%20b/%C3%A9%25/").expect("a path");
        assert_eq!(path, UrlPath { names: ["pool", "a b", "é%"].map(str::to_owned).to_vec(), slash: true });
        assert_eq!(path.encode(true), "/pool/a%20b/%C3%A9%25/");
        assert_eq!(UrlPath::parse("/").map(|root| root.encode(true)), Ok("/".to_owned()));
    }

    #[test]
    fn what_could_lead_out_or_mislead_is_refused() {
        for bad in [
            "",
            "x",
            "/..",
            "/a/../b",
            "/%2e%2E/b",
            "/a/.",
            "/..%2f..%2fetc",
            "/a%00b",
            "/bad%zz",
            "/lone%",
            "/lone%2",
            "/%ff%fe",
            "/%c0%af",
            "/%ed%a0%80",
        ] {
            assert_eq!(UrlPath::parse(bad), Err(BadHref::Malformed), "{bad}");
        }
        assert_eq!(UrlPath::parse(&"/x".repeat(10_000)), Err(BadHref::TooLong));
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_give_the_names_back(names in prop::collection::vec("[^/\0]{1,20}", 0..6)) {
            prop_assume!(names.iter().all(|name| name != "." && name != ".."));
            let href = UrlPath { names: names.clone(), slash: false }.encode(false);
            prop_assert!(href.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(UrlPath::parse(&href).map(|path| path.names), Ok(names));
        }
    }
}
