//! Whether all is there and is what its name says.

use std::fs;

use rustic_core::{CheckOptions, FileType};
use shoal_backup::ObjectKind;

use super::{Engine, id_of, sha256_of};
use crate::error::{ArchiveError, in_one_line};
use crate::repository::Checked;

impl Engine {
    pub(super) fn check_all(&self, read: bool) -> Result<Checked, ArchiveError> {
        let files = self.files();
        let mut checked = Checked::default();
        if read {
            let objects = files.objects().map_err(|error| ArchiveError::io("list", &self.folder, error))?;
            for object in objects.iter().filter(|object| object.kind != ObjectKind::Config) {
                let path = files.path(file_type(object.kind), &id_of(&object.name));
                match fs::read(&path) {
                    Ok(bytes) if sha256_of(&bytes) == object.name => {}
                    Ok(_) => checked.damaged.push(object.name),
                    Err(error) => {
                        checked.damaged.push(object.name);
                        checked.errors.push(ArchiveError::io("read", &path, error).to_string());
                    }
                }
            }
        }
        let mut options = CheckOptions::default();
        options.read_data = read;
        match self
            .opened(&files)
            .and_then(|opened| opened.check(options).map_err(ArchiveError::engine("check the repository")))
        {
            Ok(found) => {
                let wrong = found.0.iter().filter(|(level, _)| format!("{level:?}") == "Error");
                checked.errors.extend(wrong.map(|(_, error)| in_one_line(&error.to_string())));
            }
            Err(error) => checked.errors.push(error.to_string()),
        }
        Ok(checked)
    }
}

fn file_type(kind: ObjectKind) -> FileType {
    match kind {
        ObjectKind::Config => FileType::Config,
        ObjectKind::Key => FileType::Key,
        ObjectKind::Pack => FileType::Pack,
        ObjectKind::Index => FileType::Index,
        ObjectKind::Snapshot => FileType::Snapshot,
    }
}
