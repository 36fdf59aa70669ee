//! `shoal backup set`: the plan is read, changed and handed in.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use serde_json::Value;
use shoal_backup::plan::{PathBytes, Pattern, Plan};
use ureq::http::Method;

use super::{paths, read, schedule, settings};
use crate::api::backup::types::PlanView;
use crate::cli::CliError;
use crate::cli::client::Client;
use crate::cli::print::{answer, say};

/// What it says for no limit.
const NO_LIMIT: &str = "none";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OrGoOn {
    /// It waits.
    Pause,
    /// It goes on.
    GoOn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(super) struct SetOptions {
    /// Keep this folder too, with all that is in it.
    #[arg(long, value_name = "DIR")]
    root: Vec<OsString>,
    /// Keep a folder also that is not there now, such as one of a disk that is not always there.
    #[arg(long)]
    allow_missing: bool,
    /// Keep this folder no more; archives that have it stay.
    #[arg(long, value_name = "DIR")]
    no_root: Vec<OsString>,
    /// Leave this folder out.
    #[arg(long, value_name = "DIR")]
    exclude_dir: Vec<OsString>,
    /// Take that back.
    #[arg(long, value_name = "DIR")]
    include_dir: Vec<OsString>,
    /// Leave files out whose names end so, such as iso.
    #[arg(long, value_name = "EXT")]
    exclude_ext: Vec<String>,
    /// Take that back.
    #[arg(long, value_name = "EXT")]
    include_ext: Vec<String>,
    /// Leave out what is like this: `*` and `?` within a name, `**` for folders, such as '**/node_modules' or '*.o'.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// Take that back.
    #[arg(long, value_name = "PATTERN")]
    include: Vec<OsString>,
    /// How many other PCs hold a copy.
    #[arg(long, value_name = "N")]
    copies: Option<u8>,
    /// When an archive is made: 'delta hourly', 'snapshot daily 12:30,18:00', 'snapshot weekly sun 03:00', 'delta every 30m', or
    /// none. All that are named take the place of those there are.
    #[arg(long, value_name = "WHEN")]
    schedule: Vec<String>,
    /// Keep the last so many archives, whatever their age.
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,
    /// Keep the last archive of each of so many days.
    #[arg(long, value_name = "N")]
    keep_daily: Option<u32>,
    /// Keep the last archive of each of so many weeks.
    #[arg(long, value_name = "N")]
    keep_weekly: Option<u32>,
    /// Keep the last archive of each of so many months.
    #[arg(long, value_name = "N")]
    keep_monthly: Option<u32>,
    /// Older archives go, but for those of --keep-last.
    #[arg(long, value_name = "N|none")]
    keep_days: Option<String>,
    /// Send and receive so many KiB a second at most.
    #[arg(long, value_name = "KIB|none")]
    bandwidth: Option<String>,
    /// Take this share of all processors at most.
    #[arg(long, value_name = "PERCENT")]
    cpu: Option<u8>,
    /// What a scheduled run does on battery.
    #[arg(long)]
    battery: Option<OrGoOn>,
    /// What it does where the link is paid by volume.
    #[arg(long)]
    metered: Option<OrGoOn>,
    /// Whether changed files go to the peers within seconds.
    #[arg(long)]
    continuous: Option<Switch>,
    /// Days between two restores that are tried; 0: none.
    #[arg(long, value_name = "N")]
    drill_days: Option<u16>,
}

pub(super) fn set(client: &Client, options: &SetOptions, json: bool) -> Result<(), CliError> {
    let value: Value = client.get("backup/plan")?;
    let view: PlanView = read(value.clone())?;
    if *options == SetOptions::default() {
        if json {
            return answer(&value);
        }
        settings::tell(&view);
        if view.is_proposal {
            say!("\nThis is only proposed: this PC is not backed up yet. `shoal backup init` sets it up.");
        }
        return Ok(());
    }
    let PlanView { mut plan, is_proposal, .. } = view;
    if is_proposal {
        let what = "this PC is not backed up yet; set it up with `shoal backup init`, then change it";
        return Err(CliError::Refused(what.into()));
    }
    options.apply(&mut plan)?;
    let place = if options.allow_missing { "backup/plan?allow_missing=true" } else { "backup/plan" };
    let value: Value = client.call(Method::PUT, place, &plan)?;
    if json {
        return answer(&value);
    }
    settings::tell(&read(value)?);
    say!("\nThat is so from now on.");
    Ok(())
}

impl SetOptions {
    /// Changes what is named.
    fn apply(&self, plan: &mut Plan) -> Result<(), CliError> {
        change(&mut plan.roots, paths::all_absolute(&self.root)?, paths::all_absolute(&self.no_root)?, "--no-root")?;
        let excluded = &mut plan.excluded;
        let (add, take) = (paths::all_absolute(&self.exclude_dir)?, paths::all_absolute(&self.include_dir)?);
        change(&mut excluded.directories, add, take, "--include-dir")?;
        let ending = |text: &String| text.trim_start_matches("*").trim_start_matches('.').to_lowercase();
        let (add, take) =
            (self.exclude_ext.iter().map(ending).collect(), self.include_ext.iter().map(ending).collect());
        change(&mut excluded.extensions, add, take, "--include-ext")?;
        change(&mut excluded.patterns, patterns(&self.exclude)?, patterns(&self.include)?, "--include")?;
        if !self.schedule.is_empty() {
            plan.rules = schedule::rules(&self.schedule)?;
        }
        let ages = &mut plan.ages;
        put(&mut ages.keep_last, self.keep_last);
        put(&mut ages.keep_daily, self.keep_daily);
        put(&mut ages.keep_weekly, self.keep_weekly);
        put(&mut ages.keep_monthly, self.keep_monthly);
        put(&mut ages.max_age_days, limit("--keep-days", self.keep_days.as_deref())?);
        let limits = &mut plan.limits;
        put(&mut limits.bandwidth_kib_s, limit("--bandwidth", self.bandwidth.as_deref())?);
        put(&mut limits.cpu_percent, self.cpu);
        put(&mut limits.pause_on_battery, self.battery.map(|battery| battery == OrGoOn::Pause));
        put(&mut limits.pause_on_metered, self.metered.map(|metered| metered == OrGoOn::Pause));
        put(&mut plan.copies, self.copies);
        put(&mut plan.continuous, self.continuous.map(|continuous| continuous == Switch::On));
        put(&mut plan.drill_days, self.drill_days);
        plan.validate().map_err(|error| CliError::Usage(error.to_string()))
    }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Adds what is not there, takes out what is. A word that stands for nothing there is a mistake that nobody should miss.
fn change<T: PartialEq + ToString>(list: &mut Vec<T>, add: Vec<T>, take: Vec<T>, option: &str) -> Result<(), CliError> {
    for item in take {
        let at = list.iter().position(|one| *one == item);
        let at = at.ok_or_else(|| {
            CliError::Usage(format!(
                "{option} {}: that is not in the plan; `shoal backup set` shows it",
                item.to_string()
            ))
        })?;
        list.remove(at);
    }
    for item in add {
        if !list.contains(&item) {
            list.push(item);
        }
    }
    Ok(())
}

fn patterns(texts: &[OsString]) -> Result<Vec<Pattern>, CliError> {
    let pattern = |text: &OsString| {
        let bytes: PathBytes = paths::typed(text);
        Pattern::new(bytes.as_bytes()).map_err(|error| CliError::Usage(error.to_string()))
    };
    texts.iter().map(pattern).collect()
}

/// A number, or `none` for no limit.
fn limit(option: &str, text: Option<&str>) -> Result<Option<Option<u32>>, CliError> {
    match text {
        None => Ok(None),
        Some(NO_LIMIT) => Ok(Some(None)),
        Some(text) => {
            let number =
                text.parse().map_err(|_| CliError::Usage(format!("{option} {text}: a number or `{NO_LIMIT}`")))?;
            Ok(Some(Some(number)))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        set: SetOptions,
    }

    fn plan() -> Plan {
        Plan { roots: vec!["/home/ana".into()], ..Plan::default() }
    }

    fn edited(words: &[&str]) -> Result<Plan, String> {
        let words = Words::try_parse_from([&["set"], words].concat()).map_err(|error| error.to_string())?;
        let mut plan = plan();
        words.set.apply(&mut plan).map_err(|error| error.to_string())?;
        Ok(plan)
    }

    #[test]
    fn nothing_named_changes_nothing() {
        assert_eq!(edited(&[]), Ok(plan()));
        assert_eq!(Words::try_parse_from(["set"]).map(|words| words.set).ok(), Some(SetOptions::default()));
    }

    #[test]
    fn what_is_named_changes_and_the_rest_stays() {
        let words = [
            "--root",
            "/srv/photos/",
            "--root",
            "/home/ana",
            "--exclude-dir",
            "/home/ana/tmp",
            "--exclude-ext",
            "*.ISO",
            "--include-ext",
            "part",
            "--exclude",
            "**/target",
            "--include",
            "**/Cache",
            "--copies",
            "3",
            "--schedule",
            "delta every 30m",
            "--schedule",
            "snapshot weekly sun 03:00",
            "--keep-last",
            "5",
            "--keep-daily",
            "7",
            "--keep-weekly",
            "4",
            "--keep-monthly",
            "12",
            "--keep-days",
            "400",
            "--bandwidth",
            "512",
            "--cpu",
            "25",
            "--battery",
            "go-on",
            "--metered",
            "go-on",
            "--continuous",
            "on",
            "--drill-days",
            "7",
        ];
        let plan = edited(&words).expect("a plan");
        assert_eq!(plan.roots, ["/home/ana".into(), PathBytes::from("/srv/photos")]);
        assert_eq!(plan.excluded.directories, [PathBytes::from("/home/ana/tmp")]);
        assert_eq!(plan.excluded.extensions, ["tmp", "temp", "crdownload", "iso"]);
        let patterns: Vec<String> = plan.excluded.patterns.iter().map(ToString::to_string).collect();
        assert_eq!(patterns, ["**/.cache", "**/node_modules", "**/.Trash*", "**/lost+found", "**/target"]);
        let rules: Vec<String> = plan.rules.iter().map(schedule::text).collect();
        assert_eq!(rules, ["delta every 30m", "snapshot weekly sun 03:00"]);
        let ages = plan.ages;
        assert_eq!((ages.keep_last, ages.keep_daily, ages.keep_weekly, ages.keep_monthly), (5, 7, 4, 12));
        assert_eq!((ages.max_age_days, plan.copies, plan.drill_days, plan.continuous), (Some(400), 3, 7, true));
        let limits = plan.limits;
        assert_eq!((limits.bandwidth_kib_s, limits.cpu_percent), (Some(512), 25));
        assert!(!limits.pause_on_battery && !limits.pause_on_metered);
    }

    #[test]
    fn limits_are_taken_back_with_none() {
        let plan = edited(&["--bandwidth", "none", "--keep-days", "none", "--schedule", "none"]).expect("a plan");
        assert_eq!((plan.limits.bandwidth_kib_s, plan.ages.max_age_days, plan.rules.len()), (None, None, 0));
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let cases: [(&[&str], &str); 7] = [
            (&["--no-root", "/home/bob"], "--no-root /home/bob: that is not in the plan"),
            (&["--no-root", "/home/ana"], "no folder is to be kept"),
            (&["--include-ext", "odt"], "--include-ext odt: that is not in the plan"),
            (&["--exclude-dir", "/home"], "leave one of them out"),
            (&["--bandwidth", "lots"], "a number or `none`"),
            (&["--copies", "0"], "choose 1 to 16"),
            (&["--exclude", "[x"], "no `]`"),
        ];
        for (words, says) in cases {
            let said = edited(words).expect_err(says);
            assert!(said.contains(says), "{said}");
        }
    }
}
