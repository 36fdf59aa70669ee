//! Whose archives, and which of them.

use std::str::FromStr;

use clap::Args;
use ureq::http::Method;

use super::local_time::{after, local};
use super::secret::passphrase;
use crate::api::backup::types::{ArchiveView, Which};
use crate::cli::CliError;
use crate::cli::client::Client;

#[derive(Args, Clone, Default)]
pub(super) struct Whose {
    /// Another PC's backup: its name or id. Its passphrase is read from SHOAL_BACKUP_PASSPHRASE, else from standard input.
    #[arg(long, alias = "owner", value_name = "OWNER", global = true)]
    from: Option<String>,
}

impl Whose {
    /// As the API takes it. May ask for the passphrase.
    pub(super) fn which(&self) -> Result<Which, CliError> {
        let Some(owner) = &self.from else { return Ok(Which::default()) };
        Ok(Which { owner: Some(owner.clone()), passphrase: Some(passphrase(owner)?) })
    }

    /// For commands that name it again.
    pub(super) fn option(&self) -> String {
        self.from.as_ref().map(|owner| format!(" --from {owner}")).unwrap_or_default()
    }
}

/// An archive as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    Number(u64),
    Latest,
    /// The last one that was made before this moment, ms since 1970, and what was typed.
    Before(i64, String),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Number).map_err(|_| format!("there is no archive {text}"));
        }
        let moment_ms = after(text)
            .ok_or("an archive's number, `latest`, or a date such as 2026-11-28 or '2026-11-28 14:00' is expected")?;
        Ok(Self::Before(moment_ms, text.to_owned()))
    }
}

impl Choice {
    /// The archive's number. Only a date and `latest` need the list; which archive that is is told on standard error.
    pub(super) fn resolve(&self, client: &Client, which: &Which, json: bool) -> Result<u64, CliError> {
        if let Self::Number(number) = self {
            return Ok(*number);
        }
        let list: Vec<ArchiveView> = client.call(Method::POST, "backup/archives", which)?;
        let archive = self.among(&list)?;
        if !json {
            eprintln!("Archive {}, made {}.", archive.number, local(archive.made_ms));
            if !archive.is_complete {
                eprintln!("It is not complete: {}", crate::cli::print::harmless(&archive.problems));
            }
        }
        Ok(archive.number)
    }

    fn among<'a>(&self, list: &'a [ArchiveView]) -> Result<&'a ArchiveView, CliError> {
        // What another program made has no number to ask by.
        let ours = || list.iter().filter(|archive| archive.number != 0);
        let none = || CliError::Refused("there is no archive yet".to_owned());
        match self {
            Self::Number(number) => ours()
                .find(|archive| archive.number == *number)
                .ok_or_else(|| CliError::Refused(format!("there is no archive {number}"))),
            // By number: a clock that leapt makes nothing newer.
            Self::Latest => ours().max_by_key(|archive| archive.number).ok_or_else(none),
            Self::Before(moment_ms, typed) => {
                let before = ours().filter(|archive| archive.made_ms < *moment_ms);
                before.max_by_key(|archive| (archive.made_ms, archive.number)).ok_or_else(|| {
                    let first = ours().min_by_key(|archive| archive.made_ms);
                    first.map_or_else(none, |first| {
                        let (number, made) = (first.number, local(first.made_ms));
                        CliError::Refused(format!(
                            "no archive is as old as {typed}: the first, {number}, was made {made}"
                        ))
                    })
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(number: u64, made_ms: i64) -> ArchiveView {
        ArchiveView {
            number,
            id: "0123456789abcdef".into(),
            made_ms,
            mode: None,
            is_complete: true,
            problems: String::new(),
            files: 1,
            bytes: 2,
            added_bytes: 2,
            copies: Some(1),
            copies_wanted: Some(2),
            roots: vec!["/home".into()],
        }
    }

    #[test]
    fn an_archive_is_named_by_number_date_or_as_the_latest() {
        assert_eq!("12".parse(), Ok(Choice::Number(12)));
        assert_eq!("latest".parse(), Ok(Choice::Latest));
        assert!(matches!("2026-11-28".parse(), Ok(Choice::Before(_, typed)) if typed == "2026-11-28"));
        assert!(matches!("2026-11-28 14:00".parse(), Ok(Choice::Before(..))));
        for wrong in ["", "-1", "newest", "99999999999999999999999", "2026-11"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_date_chooses_the_last_archive_made_by_then() {
        // The newest first, and one of another program that is not ours to number.
        let list = [archive(0, 350), archive(3, 300), archive(2, 200), archive(1, 100)];
        let chosen = |before_ms| Choice::Before(before_ms, "then".into()).among(&list).map(|archive| archive.number);
        assert_eq!(chosen(i64::MAX).ok(), Some(3));
        assert_eq!(chosen(301).ok(), Some(3));
        assert_eq!(chosen(300).ok(), Some(2), "not one made at that very moment");
        assert_eq!(chosen(101).ok(), Some(1));
        let said = chosen(100).expect_err("there is none").to_string();
        assert!(said.starts_with("no archive is as old as then: the first, 1,"), "{said}");
    }

    #[test]
    fn the_latest_is_the_one_with_the_highest_number() {
        // The clock went back before archive 4.
        let list = [archive(3, 300), archive(4, 250)];
        assert_eq!(Choice::Latest.among(&list).map(|archive| archive.number).ok(), Some(4));
        assert_eq!(Choice::Latest.among(&[]).expect_err("there is none").to_string(), "there is no archive yet");
        assert_eq!(Choice::Number(3).among(&list).map(|archive| archive.number).ok(), Some(3));
    }
}
