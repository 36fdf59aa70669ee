//! What a person asks for: a range, an address, a name, with or without a port.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::Subnet;

/// Characters of a host's name, at most (RFC 1035).
const NAME_LIMIT: usize = 253;

/// One of the things to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// All of a range.
    Range(Subnet),
    /// One address, at a port of its own or the usual one.
    Address(IpAddr, Option<u16>),
    /// A name that has to be looked up.
    Name(String, Option<u16>),
}

/// Why words are no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("{0:?} is no address, no range such as 10.0.0.0/24 and no name of a host")]
    Unclear(String),
    #[error("{0:?} has no port from 1 to 65535 after its colon")]
    Port(String),
    #[error("{0} means nothing without a network card; give an address of another kind, or the host's name")]
    LinkLocal(IpAddr),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let unclear = || TargetError::Unclear(text.to_owned());
        if let Some((address, prefix_bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| unclear())?;
            let range = prefix_bits.parse().ok().and_then(|bits| Subnet::of(address, bits));
            return range.map(Self::Range).ok_or_else(unclear);
        }
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return one(address, None);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return one(address.ip(), Some(port(text, &address.port().to_string())?));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, number)) => (name, Some(port(text, number)?)),
            None => (text, None),
        };
        let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_');
        // A name is never only figures: that is an address gone wrong.
        if name.is_empty()
            || name.len() > NAME_LIMIT
            || !name.chars().all(fits)
            || !name.chars().any(|char| char.is_ascii_alphabetic())
        {
            return Err(unclear());
        }
        Ok(Self::Name(name.to_owned(), port))
    }
}

fn port(text: &str, number: &str) -> Result<u16, TargetError> {
    number.parse().ok().filter(|port| *port != 0).ok_or_else(|| TargetError::Port(text.to_owned()))
}

fn one(address: IpAddr, port: Option<u16>) -> Result<Target, TargetError> {
    match address.to_canonical() {
        IpAddr::V6(link_local) if link_local.is_unicast_link_local() => Err(TargetError::LinkLocal(address)),
        address => Ok(Target::Address(address, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_addresses_and_names_are_told_apart() {
        let check = |text: &str, expected| assert_eq!(text.parse::<Target>().ok(), expected, "{text}");
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        check("10.0.0.0/24", Subnet::of(ip("10.0.0.0"), 24).map(Target::Range));
        check("10.0.0.5/24", Subnet::of(ip("10.0.0.0"), 24).map(Target::Range));
        check("fd00::/120", Subnet::of(ip("fd00::"), 120).map(Target::Range));
        check("10.0.0.5", Some(Target::Address(ip("10.0.0.5"), None)));
        check("10.0.0.5:5000", Some(Target::Address(ip("10.0.0.5"), Some(5000))));
        check("fd00::5", Some(Target::Address(ip("fd00::5"), None)));
        check("[fd00::5]", Some(Target::Address(ip("fd00::5"), None)));
        check("[fd00::5]:5000", Some(Target::Address(ip("fd00::5"), Some(5000))));
        check("::ffff:10.0.0.5", Some(Target::Address(ip("10.0.0.5"), None)));
        check("office", Some(Target::Name("office".into(), None)));
        check("office.lan:5000", Some(Target::Name("office.lan".into(), Some(5000))));
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_a_sentence() {
        let check = |text: &str, said: &str| {
            let error = text.parse::<Target>().expect_err(text).to_string();
            assert!(error.contains(said), "{error}");
        };
        for text in
            ["", "/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0", "10.0.0.256", "a b", "x/24", "fd00::/129"]
        {
            check(text, "no range such as");
        }
        check("10.0.0.5:0", "no port");
        check("office:99999", "no port");
        check("fe80::1", "without a network card");
    }
}
