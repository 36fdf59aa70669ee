//! A plan for people to see: each setting by the name with which it is changed.

use shoal_backup::plan::Plan;

use super::schedule;
use crate::api::backup::types::PlanView;
use crate::cli::print::{say, table};

pub(super) fn tell(view: &PlanView) {
    table(&["SETTING", "IS", "WHAT IT MEANS"], rows(&view.plan).into_iter());
    for missing in &view.missing {
        say!("! {missing} is not there now: nothing of it is kept until it is");
    }
}

fn rows(plan: &Plan) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, is: String, means: &str| rows.push(vec![name.to_owned(), is, means.to_owned()]);
    let mut means = "kept, with all that is in it";
    for root in &plan.roots {
        row("root", root.to_string(), std::mem::take(&mut means));
    }
    let mut means = "folders that are left out";
    for directory in &plan.excluded.directories {
        row("exclude-dir", directory.to_string(), std::mem::take(&mut means));
    }
    if !plan.excluded.extensions.is_empty() {
        row("exclude-ext", plan.excluded.extensions.join(" "), "files whose names end so are left out");
    }
    let mut means = "what is like this is left out";
    for pattern in &plan.excluded.patterns {
        row("exclude", pattern.to_string(), std::mem::take(&mut means));
    }
    row("copies", plan.copies.to_string(), "other PCs that hold a copy each");
    let mut means = "who holds one because an admin said so";
    for agent in &plan.assigned {
        row("peers", agent.to_string(), std::mem::take(&mut means));
    }
    if plan.rules.is_empty() {
        row("schedule", "none".to_owned(), "archives are made when you ask for one only");
    }
    let mut means = "when archives are made, local time";
    for rule in &plan.rules {
        row("schedule", schedule::text(rule), std::mem::take(&mut means));
    }
    let ages = &plan.ages;
    row("keep-last", ages.keep_last.to_string(), "archives, whatever their age");
    row("keep-daily", ages.keep_daily.to_string(), "days of which the last archive is kept");
    row("keep-weekly", ages.keep_weekly.to_string(), "weeks of which the last archive is kept");
    row("keep-monthly", ages.keep_monthly.to_string(), "months of which the last archive is kept");
    let days = ages.max_age_days.map_or_else(|| "none".to_owned(), |days| days.to_string());
    row("keep-days", days, "older archives go, but for the last ones");
    let limits = &plan.limits;
    let bandwidth = limits.bandwidth_kib_s.map_or_else(|| "none".to_owned(), |kib| kib.to_string());
    row("bandwidth", bandwidth, "KiB a second to and from peers, at most");
    row("cpu", limits.cpu_percent.to_string(), "percent of all processors, at most");
    let waits = |pauses| if pauses { "pause" } else { "go-on" }.to_owned();
    row("battery", waits(limits.pause_on_battery), "what a scheduled run does on battery");
    row("metered", waits(limits.pause_on_metered), "what it does where the link is paid by volume");
    row(
        "continuous",
        if plan.continuous { "on" } else { "off" }.to_owned(),
        "changed files go to the peers within seconds",
    );
    row("drill-days", plan.drill_days.to_string(), "days between two tried restores; 0: none");
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_there_and_says_what_it_means_once() {
        let plan = Plan { roots: vec!["/home/ana".into(), "/srv".into()], ..Plan::default() };
        let rows = rows(&plan);
        let of = |name: &str| rows.iter().filter(|row| row[0] == name).map(|row| row[1].as_str()).collect::<Vec<_>>();
        assert_eq!(of("root"), ["/home/ana", "/srv"]);
        assert_eq!(of("schedule"), ["delta hourly", "snapshot weekly wed 12:30"]);
        assert_eq!(of("exclude").len(), plan.excluded.patterns.len());
        assert_eq!((of("bandwidth"), of("keep-days"), of("battery")), (vec!["none"], vec!["none"], vec!["pause"]));
        assert!(rows.iter().all(|row| row.len() == 3));
        assert!(rows[1][2].is_empty() && !rows[0][2].is_empty());
    }

    #[test]
    fn a_plan_without_schedules_says_so() {
        let rows = rows(&Plan { rules: Vec::new(), ..Plan::default() });
        assert!(rows.iter().any(|row| row[0] == "schedule" && row[1] == "none"));
    }
}
