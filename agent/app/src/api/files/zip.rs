//! ZIP archives that are written as they go, nothing compressed: what stands before, after and at the end of files. Pure.
//!
//! After PKWARE's APPNOTE 6.3.10: names in UTF-8 (general flag 11), checksums behind the bytes (flag 3, since they are known only
//! then), the larger fields of ZIP64 where, and only where, the usual ones are too small. The length of an archive is known before
//! it is begun.

/// What a 32-bit field says where the ZIP64 field has the number.
const ELSEWHERE: u32 = u32::MAX;
/// The same of a 16-bit field.
const ELSEWHERE_SHORT: u16 = u16::MAX;
/// Checksum behind the bytes; name in UTF-8.
const FLAGS: u16 = 1 << 3 | 1 << 11;
/// What is needed to read it: 4.5 knows ZIP64.
const VERSION: u16 = 45;
/// It was made on Unix, so that attributes are modes.
const MADE_ON_UNIX: u16 = 3 << 8 | VERSION;
const MODE_FILE: u32 = 0o100_644;
const MODE_PROGRAM: u32 = 0o100_755;
const MODE_FOLDER: u32 = 0o040_755;
/// The attribute of folders for DOS.
const DOS_FOLDER: u32 = 0x10;
/// 1980-01-01, the first day there is.
const DOS_FIRST_DAY: u16 = 1 << 5 | 1;

/// A file or folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Where it lies, with slashes between names and none at the end.
    pub(super) path: String,
    /// Its length in bytes; of folders: 0.
    pub(super) size_bytes: u64,
    /// A folder.
    pub(super) folder: bool,
    /// Whether it may be run.
    pub(super) executable: bool,
    /// When it was changed last, in ms since 1970.
    pub(super) modified_ms: Option<u64>,
}

impl Member {
    fn is_large(&self) -> bool {
        self.size_bytes >= u64::from(ELSEWHERE)
    }

    fn name(&self) -> Vec<u8> {
        let mut name = self.path.clone().into_bytes();
        if self.folder {
            name.push(b'/');
        }
        name
    }

    /// What stands before its bytes.
    pub(super) fn head(&self) -> Vec<u8> {
        let name = self.name();
        let mut extra = self.time();
        if self.is_large() {
            // Says that the lengths behind the bytes have 64 bits.
            extra.extend(field(1, &[0; 16]));
        }
        let size = if self.is_large() { ELSEWHERE } else { 0 };
        let mut out = 0x0403_4b50_u32.to_le_bytes().to_vec();
        short(&mut out, &[VERSION, FLAGS, 0, 0, DOS_FIRST_DAY]);
        long(&mut out, &[0, size, size]);
        short(&mut out, &[short_of(name.len()), short_of(extra.len())]);
        out.extend(name);
        out.extend(extra);
        out
    }

    /// What stands behind its bytes.
    pub(super) fn tail(&self, checksum: u32) -> Vec<u8> {
        let mut out = 0x0807_4b50_u32.to_le_bytes().to_vec();
        long(&mut out, &[checksum]);
        for _ in 0..2 {
            match u32::try_from(self.size_bytes) {
                Ok(size) if !self.is_large() => long(&mut out, &[size]),
                _ => out.extend(self.size_bytes.to_le_bytes()),
            }
        }
        out
    }

    /// Its line in the list at the end; `offset`: where its head stands.
    fn listed(&self, checksum: u32, offset: u64) -> Vec<u8> {
        let name = self.name();
        let mut large = Vec::new();
        if self.is_large() {
            large.extend(self.size_bytes.to_le_bytes().repeat(2));
        }
        let far = offset >= u64::from(ELSEWHERE);
        if far {
            large.extend(offset.to_le_bytes());
        }
        let mut extra = self.time();
        if !large.is_empty() {
            extra.extend(field(1, &large));
        }
        let size = narrow(self.size_bytes);
        let mode = match (self.folder, self.executable) {
            (true, _) => MODE_FOLDER,
            (false, true) => MODE_PROGRAM,
            (false, false) => MODE_FILE,
        };
        let mut out = 0x0201_4b50_u32.to_le_bytes().to_vec();
        short(&mut out, &[MADE_ON_UNIX, VERSION, FLAGS, 0, 0, DOS_FIRST_DAY]);
        long(&mut out, &[checksum, size, size]);
        short(&mut out, &[short_of(name.len()), short_of(extra.len()), 0, 0, 0]);
        long(&mut out, &[mode << 16 | if self.folder { DOS_FOLDER } else { 0 }, narrow(offset)]);
        out.extend(name);
        out.extend(extra);
        out
    }

    /// When it was changed, as Unix tells it: that of DOS has no zone and knows only every other second.
    fn time(&self) -> Vec<u8> {
        let seconds = self.modified_ms.and_then(|ms| i32::try_from(ms / 1_000).ok());
        seconds
            .map(|seconds| [&[1], &seconds.to_le_bytes()[..]].concat())
            .map_or_else(Vec::new, |time| field(0x5455, &time))
    }
}

/// The end of an archive whose members begin at the first byte, one behind the other; `checksums` are theirs.
pub(super) fn ending(members: &[Member], checksums: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut offset = 0;
    for (member, checksum) in members.iter().zip(checksums) {
        out.extend(member.listed(*checksum, offset));
        offset += whole_bytes(member);
    }
    let (count, size) = (members.len() as u64, out.len() as u64);
    if count >= u64::from(ELSEWHERE_SHORT) || size >= u64::from(ELSEWHERE) || offset >= u64::from(ELSEWHERE) {
        let here = offset + size;
        long(&mut out, &[0x0606_4b50]);
        out.extend(44_u64.to_le_bytes());
        short(&mut out, &[MADE_ON_UNIX, VERSION]);
        long(&mut out, &[0, 0]);
        out.extend([count, count, size, offset].iter().flat_map(|number| number.to_le_bytes()));
        long(&mut out, &[0x0706_4b50, 0]);
        out.extend(here.to_le_bytes());
        long(&mut out, &[1]);
    }
    let count = u16::try_from(count).unwrap_or(ELSEWHERE_SHORT);
    long(&mut out, &[0x0605_4b50]);
    short(&mut out, &[0, 0, count, count]);
    long(&mut out, &[narrow(size), narrow(offset)]);
    short(&mut out, &[0]);
    out
}

/// Bytes of a whole archive.
pub(super) fn length_bytes(members: &[Member]) -> u64 {
    let all: u64 = members.iter().map(whole_bytes).sum();
    all + ending(members, &vec![0; members.len()]).len() as u64
}

/// Bytes of a member with what stands before and behind.
fn whole_bytes(member: &Member) -> u64 {
    (member.head().len() + member.tail(0).len()) as u64 + member.size_bytes
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(ELSEWHERE)
}

/// Paths and what stands beside them are far shorter.
fn short_of(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(ELSEWHERE_SHORT)
}

fn short(out: &mut Vec<u8>, numbers: &[u16]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn long(out: &mut Vec<u8>, numbers: &[u32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn field(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    short(&mut out, &[kind, short_of(value.len())]);
    out.extend(value);
    out
}

/// The checksum of ZIP (CRC-32 of IEEE 802.3), a piece at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checksum(u32);

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

impl Checksum {
    pub(super) fn new() -> Self {
        Self(u32::MAX)
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let [low, ..] = self.0.to_le_bytes();
            self.0 = self.0 >> 8 ^ TABLE[usize::from(low ^ byte)];
        }
    }

    pub(super) fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str, size_bytes: u64) -> Member {
        Member { path: path.to_owned(), size_bytes, folder: false, executable: false, modified_ms: Some(86_400_000) }
    }

    fn checksum(pieces: &[&[u8]]) -> u32 {
        let mut checksum = Checksum::new();
        pieces.iter().for_each(|piece| checksum.take(piece));
        checksum.value()
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(
            (checksum(&[]), checksum(&[b"123456789"]), checksum(&[b"1234", b"56789"])),
            (0, 0xcbf4_3926, 0xcbf4_3926)
        );
    }

    #[test]
    fn lengths_are_known_beforehand() {
        let folder = Member { folder: true, ..member("a", 0) };
        let members = [folder, member("a/é.txt", 5), member("b", 0)];
        let mut archive = Vec::new();
        for (member, content) in members.iter().zip([&b""[..], b"12345", b""]) {
            archive.extend(member.head());
            archive.extend(content);
            archive.extend(member.tail(checksum(&[content])));
        }
        let checksums = [0, checksum(&[b"12345"]), 0];
        archive.extend(ending(&members, &checksums));
        assert_eq!(length_bytes(&members), archive.len() as u64);
        // The end as everybody looks for it.
        let end = archive.len() - 22;
        assert_eq!(archive[end..end + 4], *b"PK\x05\x06");
        assert_eq!(archive[end + 8..end + 12], [3, 0, 3, 0]);
    }

    #[test]
    fn what_is_too_large_for_the_usual_fields_has_larger_ones() {
        let (small, large) = (member("small", 7), member("large", 5 << 30));
        assert_eq!((small.tail(9).len(), large.tail(9).len()), (16, 24));
        assert_eq!(large.tail(9)[8..16], (5_u64 << 30).to_le_bytes());
        let members = [large, small];
        let ending = ending(&members, &[1, 2]);
        // The small one lies beyond the large one: its place needs the larger field, its length does not.
        let place = whole_bytes(&members[0]).to_le_bytes();
        let beyond = [&[1, 0, 8, 0], &place[..]].concat();
        assert!(ending.windows(12).any(|found| found == beyond));
        assert!(
            ending.windows(4).any(|found| found == *b"PK\x06\x06")
                && ending.windows(4).any(|found| found == *b"PK\x06\x07")
        );
        assert_eq!(ending[ending.len() - 6..ending.len() - 2], u32::MAX.to_le_bytes());
    }
}
