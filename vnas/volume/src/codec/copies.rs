//! Code 0: every shard is the data.

use super::{COPIES, Codec, CodecError, CodecId, check_present};

pub(super) struct Copies;

impl Codec for Copies {
    fn id(&self) -> CodecId {
        COPIES
    }

    fn encode(&self, data: &[&[u8]], parity: usize) -> Result<Vec<Vec<u8>>, CodecError> {
        match data {
            [one] => Ok(vec![one.to_vec(); parity]),
            _ => Err(CodecError::Shape(format!("copies of {} data shards", data.len()))),
        }
    }

    fn recover(&self, k: usize, m: usize, present: &[(usize, &[u8])]) -> Result<Vec<(usize, Vec<u8>)>, CodecError> {
        if k != 1 {
            return Err(CodecError::Shape(format!("copies of {k} data shards")));
        }
        check_present(k, m, present)?;
        match present {
            [(0, _), ..] => Ok(Vec::new()),
            _ if present.iter().any(|(index, _)| *index == 0) => Ok(Vec::new()),
            _ => Ok(present.iter().take(1).map(|(_, shard)| (0, shard.to_vec())).collect()),
        }
    }
}
