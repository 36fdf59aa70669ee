//! The frame: a header of fixed size, then a head, then a body. Pure; see `docs/protocol.md`.

use crate::{BODY_LIMIT_BYTES, CONTROL_BODY_LIMIT_BYTES, HEAD_LIMIT_BYTES, Lane};

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 20;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Asks; `code` is the method.
    Request,
    /// Answers the request of the same id; `code` is the status.
    Response,
    /// Refuses the request of the same id; the head says why.
    Refusal,
    /// Asks whether the other end still reads. Empty.
    Probe,
    /// Answers a probe. Empty.
    Alive,
}

/// A frame's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) lane: Lane,
    /// Method or status.
    pub(crate) code: u16,
    /// Chosen by the asking end, never twice on one connection.
    pub(crate) id: u64,
    pub(crate) head_bytes: usize,
    pub(crate) body_bytes: usize,
}

/// Why bytes are no frame; the connection they came on is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("unknown kind of frame {0}")]
    Kind(u8),
    #[error("unknown lane {0}")]
    Lane(u8),
    #[error("a head of {0} bytes, over the limit of {HEAD_LIMIT_BYTES}")]
    Head(u32),
    #[error("a body of {0} bytes, over the limit of {1}")]
    Body(u32, usize),
    #[error("a probe with a payload")]
    Probe,
}

/// The longest body a lane takes.
pub(crate) fn body_limit_bytes(lane: Lane) -> usize {
    match lane {
        Lane::Control => CONTROL_BODY_LIMIT_BYTES,
        Lane::Foreground | Lane::Background => BODY_LIMIT_BYTES,
    }
}

/// What is too long about a message, in words; `None` when nothing is.
pub(crate) fn oversize(what: &str, lane: Lane, head_bytes: usize, body_bytes: usize) -> Option<String> {
    let limit_bytes = body_limit_bytes(lane);
    if head_bytes > HEAD_LIMIT_BYTES {
        return Some(format!("the {what}'s head has {head_bytes} bytes, the limit is {HEAD_LIMIT_BYTES}"));
    }
    (body_bytes > limit_bytes).then(|| format!("the {what}'s body has {body_bytes} bytes, the limit is {limit_bytes}"))
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let kind = match self.kind {
            Kind::Request => 1,
            Kind::Response => 2,
            Kind::Refusal => 3,
            Kind::Probe => 4,
            Kind::Alive => 5,
        };
        let lane = match self.lane {
            Lane::Control => 0,
            Lane::Foreground => 1,
            Lane::Background => 2,
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = kind;
        bytes[1] = lane;
        bytes[2..4].copy_from_slice(&self.code.to_be_bytes());
        bytes[4..8].copy_from_slice(&(self.head_bytes as u32).to_be_bytes());
        bytes[8..12].copy_from_slice(&(self.body_bytes as u32).to_be_bytes());
        bytes[12..20].copy_from_slice(&self.id.to_be_bytes());
        bytes
    }

    /// Reads a header and checks its lengths, before a byte is set aside for what it announces.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [kind, lane, c0, c1, h0, h1, h2, h3, b0, b1, b2, b3, id @ ..] = *bytes;
        let kind = match kind {
            1 => Kind::Request,
            2 => Kind::Response,
            3 => Kind::Refusal,
            4 => Kind::Probe,
            5 => Kind::Alive,
            other => return Err(FrameError::Kind(other)),
        };
        let lane = match lane {
            0 => Lane::Control,
            1 => Lane::Foreground,
            2 => Lane::Background,
            other => return Err(FrameError::Lane(other)),
        };
        let (head, body) = (u32::from_be_bytes([h0, h1, h2, h3]), u32::from_be_bytes([b0, b1, b2, b3]));
        let (head_bytes, body_bytes, limit_bytes) = (head as usize, body as usize, body_limit_bytes(lane));
        if head_bytes > HEAD_LIMIT_BYTES {
            return Err(FrameError::Head(head));
        }
        if body_bytes > limit_bytes {
            return Err(FrameError::Body(body, limit_bytes));
        }
        if matches!(kind, Kind::Probe | Kind::Alive) && head_bytes + body_bytes > 0 {
            return Err(FrameError::Probe);
        }
        let (code, id) = (u16::from_be_bytes([c0, c1]), u64::from_be_bytes(id));
        Ok(Self { kind, lane, code, id, head_bytes, body_bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_header_within_the_limits_or_an_error(bytes in proptest::array::uniform20(any::<u8>())) {
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert!(header.head_bytes <= HEAD_LIMIT_BYTES);
                prop_assert!(header.body_bytes <= body_limit_bytes(header.lane));
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn a_header_comes_back_as_it_was_sent(
            kind in prop_oneof![Just(Kind::Request), Just(Kind::Response), Just(Kind::Refusal)],
            lane in prop_oneof![Just(Lane::Control), Just(Lane::Foreground), Just(Lane::Background)],
            code in any::<u16>(), id in any::<u64>(),
            head_bytes in 0..=HEAD_LIMIT_BYTES, body_bytes in 0..=CONTROL_BODY_LIMIT_BYTES,
        ) {
            let header = Header { kind, lane, code, id, head_bytes, body_bytes };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn lengths_over_the_limit_are_refused() {
        let header = |lane, head_bytes, body_bytes| {
            Header { kind: Kind::Request, lane, code: 0, id: 0, head_bytes, body_bytes }.encode()
        };
        let check = |bytes, error| assert_eq!(Header::decode(&bytes), Err(error));
        check(header(Lane::Control, HEAD_LIMIT_BYTES + 1, 0), FrameError::Head(HEAD_LIMIT_BYTES as u32 + 1));
        let over = BODY_LIMIT_BYTES + 1;
        check(header(Lane::Foreground, 0, over), FrameError::Body(over as u32, BODY_LIMIT_BYTES));
        let over = CONTROL_BODY_LIMIT_BYTES + 1;
        check(header(Lane::Control, 0, over), FrameError::Body(over as u32, CONTROL_BODY_LIMIT_BYTES));
    }
}
