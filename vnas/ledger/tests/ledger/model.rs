//! A naive namespace to compare with: a map of paths, and a list of what went.

use std::collections::BTreeMap;

use shoal_ledger::TrashReason;

/// What a file holds, or `None` for a folder, by the names that lead there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) nodes: BTreeMap<Vec<String>, Option<String>>,
    /// Where each file was that went, what it held, and why it went; in no order.
    pub(crate) trash: Vec<Gone>,
}

pub(crate) type Gone = (Vec<String>, String, TrashReason);

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Made,
    Replaced,
    Done,
    NotFound,
    ParentMissing,
    Exists,
    IsAFolder,
    NotAFolder,
    IntoItself,
}

fn names(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

impl Model {
    fn is_folder(&self, at: &[String]) -> bool {
        at.is_empty() || self.nodes.get(at) == Some(&None)
    }

    fn has_parent(&self, at: &[String]) -> bool {
        self.is_folder(&at[..at.len() - 1])
    }

    pub(crate) fn folder(&mut self, at: &str) -> Verdict {
        let at = names(at);
        match () {
            () if !self.has_parent(&at) => Verdict::ParentMissing,
            () if self.nodes.contains_key(&at) => Verdict::Exists,
            () => {
                self.nodes.insert(at, None);
                Verdict::Made
            }
        }
    }

    pub(crate) fn file(&mut self, at: &str, text: &str) -> Verdict {
        let at = names(at);
        match self.nodes.get(&at) {
            _ if !self.has_parent(&at) => Verdict::ParentMissing,
            Some(None) => Verdict::IsAFolder,
            before => {
                let verdict = if before.is_some() { Verdict::Replaced } else { Verdict::Made };
                self.go(&at, TrashReason::Overwritten);
                self.nodes.insert(at, Some(text.to_owned()));
                verdict
            }
        }
    }

    pub(crate) fn remove(&mut self, at: &str) -> Verdict {
        let at = names(at);
        if !self.nodes.contains_key(&at) {
            return Verdict::NotFound;
        }
        self.go(&at, TrashReason::Deleted);
        Verdict::Done
    }

    /// All at and below a path goes; files that are not empty leave something behind.
    fn go(&mut self, at: &[String], reason: TrashReason) {
        for (path, text) in self.nodes.iter().filter(|(path, _)| path.starts_with(at)) {
            let text = text.iter().filter(|text| !text.is_empty());
            self.trash.extend(text.map(|text| (path.clone(), text.clone(), reason)));
        }
        self.nodes.retain(|path, _| !path.starts_with(at));
    }

    pub(crate) fn restore(&mut self, gone: &Gone, to: Option<&str>, overwrite: bool) -> Verdict {
        let to = to.map_or_else(|| gone.0.clone(), names);
        if (1..to.len()).any(|depth| matches!(self.nodes.get(&to[..depth]), Some(Some(_)))) {
            return Verdict::NotAFolder;
        }
        let verdict = match self.nodes.get(&to) {
            Some(None) => return Verdict::IsAFolder,
            Some(Some(_)) if !overwrite => return Verdict::Exists,
            Some(Some(_)) => Verdict::Replaced,
            None => Verdict::Made,
        };
        let index = self.trash.iter().position(|known| known == gone).expect("the model has it in the trash");
        self.trash.remove(index);
        self.go(&to, TrashReason::Overwritten);
        for depth in 1..to.len() {
            self.nodes.entry(to[..depth].to_vec()).or_insert(None);
        }
        self.nodes.insert(to, Some(gone.1.clone()));
        verdict
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str, overwrite: bool) -> Verdict {
        if self.nodes.contains_key(&names(from)) && names(to).starts_with(&names(from)) {
            return Verdict::IntoItself;
        }
        let verdict = self.copy(from, to, overwrite, true);
        if matches!(verdict, Verdict::Made | Verdict::Replaced) {
            self.nodes.retain(|path, _| !path.starts_with(&names(from)));
        }
        verdict
    }

    pub(crate) fn copy(&mut self, from: &str, to: &str, overwrite: bool, deep: bool) -> Verdict {
        let (from, to) = (names(from), names(to));
        let Some(source) = self.nodes.get(&from) else { return Verdict::NotFound };
        let whole = deep && source.is_none();
        if from == to || (to.starts_with(&from) && whole) {
            return Verdict::IntoItself;
        }
        if !self.has_parent(&to) {
            return Verdict::ParentMissing;
        }
        let replaces = self.nodes.contains_key(&to);
        if replaces && !overwrite {
            return Verdict::Exists;
        }
        if from.starts_with(&to) {
            return Verdict::IntoItself;
        }
        let goes = |path: &&Vec<String>| if whole { path.starts_with(&from) } else { **path == from };
        let moved: Vec<Vec<String>> = self.nodes.keys().filter(goes).cloned().collect();
        let rows = moved.iter().map(|path| ([&to, &path[from.len()..]].concat(), self.nodes[path].clone()));
        let rows: Vec<_> = rows.collect();
        self.go(&to, TrashReason::Overwritten);
        self.nodes.extend(rows);
        if replaces { Verdict::Replaced } else { Verdict::Made }
    }
}
