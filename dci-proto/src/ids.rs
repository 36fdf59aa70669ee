//! The ids, each its own type so that two of them are never swapped.
//!
//! Binary formats carry the raw bytes; formats for people (JSON, TOML) carry the text form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdParseError {
    /// The offending text, cut to 80 characters.
    pub text: String,
    /// What was expected, such as "an agent id".
    pub expected: &'static str,
}

impl IdParseError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), expected }
    }
}

/// An agent: its ed25519 public key. Text form: the libp2p peer id of that key (`12D3KooW…`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AgentId(pub [u8; 32]);

/// What a libp2p peer id of an ed25519 key starts with: the identity multihash of 36 bytes, then the protobuf head.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl AgentId {
    /// The last eight characters of the text form, for people who compare two of them by eye.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let text = self.to_string();
        text[text.len().saturating_sub(8)..].to_owned()
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0u8; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId(…{})", self.fingerprint())
    }
}

impl FromStr for AgentId {
    type Err = IdParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0u8; 38];
        let error = || IdParseError::new(text, "an agent id (12D3KooW…)");
        let length = bs58::decode(text).onto(&mut bytes).map_err(|_| error())?;
        if length != 38 || bytes[..6] != PEER_ID_PREFIX {
            return Err(error());
        }
        let mut key = [0u8; 32];
        key.copy_from_slice(&bytes[6..]);
        Ok(Self(key))
    }
}

impl Serialize for AgentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for AgentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// Bytes as lower-case hexadecimal, and back.
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $length:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $length]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let error = || IdParseError::new(text, $what);
                if text.len() != $length * 2 || !text.is_ascii() {
                    return Err(error());
                }
                let mut bytes = [0u8; $length];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let digit = |c: u8| (c as char).to_digit(16).ok_or_else(error);
                    *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $length]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

hex_id!(
    /// A pool of agents, made at random when its first agent starts.
    PoolId, 16, "a pool id (32 hexadecimal digits)"
);
hex_id!(
    /// One stripe: an erasure-coded chunk. Made at random by the agent that writes it, never used twice.
    StripeId, 16, "a stripe id (32 hexadecimal digits)"
);
hex_id!(
    /// The plain content of a chunk: BLAKE3 keyed with a key of the pool, so equal chunks share one stripe and an
    /// outsider cannot test for known content.
    ContentId, 32, "a content id (64 hexadecimal digits)"
);
hex_id!(
    /// The hash of a whole shard, made of the hashes of its blocks ([`crate::shard_hash`]).
    ShardHash, 16, "a shard hash (32 hexadecimal digits)"
);
hex_id!(
    /// A ledger command, made at random by who submits it: submitted twice, it takes effect once.
    CommandId, 16, "a command id (32 hexadecimal digits)"
);

/// A UUID (RFC 9562) in its text form of five groups.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (at, byte) in self.0.iter().enumerate() {
                    let dash = if UUID_DASHES.contains(&at) { "-" } else { "" };
                    write!(f, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                uuid_bytes(text).map(Self).ok_or_else(|| IdParseError::new(text, $what))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

/// Before which bytes of a UUID its text has a dash.
const UUID_DASHES: [usize; 4] = [4, 6, 8, 10];

/// The bytes of a UUID in lower-case or upper-case hexadecimal.
fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let mut rest = text.as_bytes();
    let mut bytes = [0; 16];
    for (at, byte) in bytes.iter_mut().enumerate() {
        if UUID_DASHES.contains(&at) {
            rest = rest.strip_prefix(b"-")?;
        }
        let (pair, after) = rest.split_at_checked(2)?;
        let digit = |index: usize| pair.get(index).and_then(|digit| char::from(*digit).to_digit(16));
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
        rest = after;
    }
    rest.is_empty().then_some(bytes)
}

uuid_id!(
    /// A message between peerlets. Made by who sends it, never used twice.
    MessageId, "a message id (a UUID)"
);
uuid_id!(
    /// An instance of a peerlet, such as one conversation: what a message names in order to reach it.
    SessionId, "a session id (a UUID)"
);

/// A volume of the pool; numbered by the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VolumeId(pub u32);

/// A file or folder, for its whole life; numbered by the ledger, never used twice in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InodeId(pub u64);

impl fmt::Display for InodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One shard of one stripe. Text form: `STRIPE.INDEX`, which is also its file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardKey {
    /// The stripe it belongs to.
    pub stripe: StripeId,
    /// Which shard: `0..k` are data, `k..k+m` are parity (or whole copies where k is 1).
    pub index: u8,
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stripe, self.index)
    }
}

impl FromStr for ShardKey {
    type Err = IdParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || IdParseError::new(text, "a shard key (STRIPE.INDEX)");
        let (stripe, index) = text.split_once('.').ok_or_else(error)?;
        Ok(Self { stripe: stripe.parse().map_err(|_| error())?, index: index.parse().map_err(|_| error())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_id_reads_as_the_libp2p_peer_id_of_its_key() {
        let id = AgentId([7; 32]);
        let text = id.to_string();
        assert!(text.starts_with("12D3KooW"), "{text}");
        assert_eq!(text.parse::<AgentId>(), Ok(id));
        assert_eq!(id.fingerprint().len(), 8);
    }

    #[test]
    fn ids_refuse_what_they_are_not() {
        for text in ["", "12D3KooW", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "é"] {
            assert!(text.parse::<AgentId>().is_err(), "{text}");
        }
        for text in ["", "00", "zz000000000000000000000000000000", "é0000000000000000000000000000000"] {
            assert!(text.parse::<StripeId>().is_err(), "{text}");
        }
        for text in [
            "",
            "018f-",
            "018f6d2a6c1e7c3e8a7b1234567890ab",
            "018f6d2a-6c1e-7c3e-8a7b-1234567890abc",
            "018f6d2a-6c1e-7c3e-8a7b-12345678é",
        ] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
        for text in ["", ".", "00000000000000000000000000000000", "00000000000000000000000000000000.256"] {
            assert!(text.parse::<ShardKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_text_for_people_and_bytes_for_machines() {
        let key = ShardKey { stripe: StripeId([0xab; 16]), index: 3 };
        assert_eq!(key.to_string().parse(), Ok(key));
        let message = MessageId(*b"0123456789abcdef");
        assert_eq!(message.to_string(), "30313233-3435-3637-3839-616263646566");
        assert_eq!(message.to_string().to_uppercase().parse(), Ok(message));
        let json = serde_json::to_string(&AgentId([1; 32])).expect("serialises");
        assert!(json.starts_with("\"12D3"), "{json}");
        assert_eq!(serde_json::from_str::<AgentId>(&json).expect("parses"), AgentId([1; 32]));
        let binary = postcard::to_stdvec(&AgentId([1; 32])).expect("serialises");
        assert_eq!(binary.len(), 32);
    }
}
