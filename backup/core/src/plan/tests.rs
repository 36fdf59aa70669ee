use super::*;

fn plan() -> Plan {
    Plan { roots: vec!["/home/ana".into()], ..Plan::default() }
}

fn wrong(change: impl FnOnce(&mut Plan)) -> String {
    let mut plan = plan();
    change(&mut plan);
    plan.validate().expect_err("it is wrong").to_string()
}

#[test]
fn defaults_with_a_root_are_valid() {
    assert_eq!(plan().validate(), Ok(()));
    assert_eq!(Plan::default().validate(), Err(PlanError::NoRoots));
    assert_eq!(Plan::default().excluded.patterns.len(), 5, "no default pattern is wrong");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let check = |said: String, has: &str| assert!(said.contains(has), "{said}");
    check(wrong(|plan| plan.version = 2), "update Shoal");
    check(wrong(|plan| plan.roots = vec!["home".into()]), "absolute");
    check(wrong(|plan| plan.roots = vec!["/a/../b".into()]), "..");
    check(wrong(|plan| plan.roots = vec!["/a".into(); LIST_LIMIT + 1]), "1025 are too many");
    check(wrong(|plan| plan.excluded.directories = vec!["/home".into()]), "leave one of them out");
    check(wrong(|plan| plan.excluded.extensions = vec![".tmp".into()]), "without dot");
    check(wrong(|plan| plan.copies = 0), "choose 1 to 16");
    check(wrong(|plan| plan.assigned = vec![AgentId([1; 32]); 3]), "raise the copies");
    check(wrong(|plan| plan.assigned = vec![AgentId([1; 32]); 2]), "lost together");
    check(wrong(|plan| plan.rules[0].when = When::Hourly { minute: 60 }), "schedule 1: ");
    check(wrong(|plan| plan.limits.bandwidth_kib_s = Some(7)), "at least 8");
    check(wrong(|plan| plan.limits.cpu_percent = 0), "1 to 100");
    check(wrong(|plan| plan.ages = Ages { keep_last: 0, ..Ages::default() }), "keep at least the last one");
}

#[test]
fn the_first_version_is_read_for_ever() {
    let stored = r#"{"version":1,"roots":["/home/ana","/data/%FFx"],"copies":3,
        "rules":[{"mode":"delta","when":{"hourly":{"minute":5}}},{"mode":"snapshot","when":"on_demand"}]}"#;
    let plan: Plan = serde_json::from_str(stored).unwrap();
    assert_eq!(plan.validate(), Ok(()));
    assert_eq!((plan.copies, plan.drill_days, plan.limits), (3, 30, Limits::default()));
    assert_eq!(plan.roots[1].as_bytes(), b"/data/\xffx");
}

#[test]
fn it_is_stored_as_text_and_as_bytes_and_comes_back() {
    let mut plan = plan();
    plan.roots.push(PathBytes::new(b"/\xff%/x"));
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    assert_eq!(postcard::from_bytes::<Plan>(&postcard::to_allocvec(&plan).unwrap()).unwrap(), plan);
}
