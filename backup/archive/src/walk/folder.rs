//! The names in a folder, in order, in as little memory as they need: a folder may have a million.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Dir;
use rustix::io::Errno;

/// Names, sorted by their bytes.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each begins and how long it is, the last one first.
    places: Vec<(u32, u16)>,
}

impl Names {
    /// All names in an open folder.
    pub(super) fn read(folder: &OwnedFd) -> Result<Self, Errno> {
        let mut names = Self::default();
        for entry in Dir::read_from(folder.as_fd())? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let place = u32::try_from(names.bytes.len()).map_err(|_| Errno::FBIG)?;
            names.places.push((place, u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?));
            names.bytes.extend_from_slice(name);
        }
        let Self { bytes, places } = &mut names;
        let name = |(place, len): (u32, u16)| &bytes[place as usize..place as usize + usize::from(len)];
        places.sort_unstable_by(|one, other| name(*other).cmp(name(*one)));
        Ok(names)
    }

    /// Takes the next one.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let (place, len) = self.places.pop()?;
        self.bytes.get(place as usize..place as usize + usize::from(len)).map(<[u8]>::to_vec)
    }
}
