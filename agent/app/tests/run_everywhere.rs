//! `shoal run` on real agents (D7, M7): off until an admin and the owner say yes, output as it comes, never run twice, all of it in
//! the audit log.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use shoal_testkit::{AgentOptions, AgentProcess, SmallDisk, free_port_base, start_pool, wait_until};

/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// What `shoal run` ends with when not all went well.
const NOT_ALL_DONE: i32 = 14;
/// What it ends with when the caller may not.
const NOT_ALLOWED: i32 = 4;

/// A folder that commands may write to, whoever they run as.
fn shared(folder: &Path) -> Result<PathBuf> {
    let shared = folder.join("shared");
    fs::create_dir(&shared)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777))?;
    Ok(shared)
}

/// What the owner of an agent says, before its first start.
fn owner_says(options: &AgentOptions, run: &str) -> Result<()> {
    fs::create_dir_all(&options.data)?;
    Ok(fs::write(options.data.join("agent.toml"), format!("version = 1\n{run}\n"))?)
}

/// A pool in which the owner of agent number N says the Nth.
fn pool(folder: &Path, owners: &[String]) -> Result<Vec<AgentProcess>> {
    let binary = Path::new(env!("CARGO_BIN_EXE_shoal"));
    let mut says = owners.iter();
    start_pool(binary, folder, free_port_base(100)?, u16::try_from(owners.len())?, |options| {
        says.next().map_or(Ok(()), |run| owner_says(options, run))
    })
}

fn anything_in(shared: &Path) -> String {
    format!("[run]\nany = true\nwrite = [{shared:?}]")
}

/// A `shoal run` that is under way.
fn begin(agent: &AgentProcess, arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new(&agent.options().binary);
    command.arg("run").arg("--data").arg(agent.data()).args(arguments);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// What happened, line by line, and the summary by name of the agent.
fn told(output: &Output) -> Result<(Vec<Value>, Value)> {
    let text = std::str::from_utf8(&output.stdout)?;
    let mut events = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let summary = events.pop().with_context(|| format!("no summary: {output:?}"))?;
    ensure!(summary["event"] == "summary", "{summary}");
    Ok((events, summary))
}

/// The line of an agent in the summary.
fn of<'a>(summary: &'a Value, name: &str) -> Result<&'a Value> {
    let mut agents = summary["agents"].as_array().context("agents")?.iter();
    agents.find(|agent| agent["name"] == name).with_context(|| format!("{name} is not in {summary}"))
}

fn refused(output: &Output, code: i32, saying: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code) && said.contains(saying), "{output:?}");
    Ok(())
}

/// What an agent's audit log says of `run`, oldest first: user, command line, decision.
fn audited(agent: &AgentProcess) -> Result<Vec<(String, String, String)>> {
    let page = agent.json(&["audit", "--type", "run"])?;
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = page["entries"].as_array().context("entries")?.iter().rev();
    Ok(entries.map(|entry| (text(entry, "user"), text(entry, "what"), text(entry, "decision"))).collect())
}

fn entry(what: &str, decision: &str) -> (String, String, String) {
    ("admin".to_owned(), what.to_owned(), decision.to_owned())
}

#[test]
fn it_is_off_until_an_admin_and_the_owner_say_yes_and_every_act_is_audited() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let owners = ["[run]\nallow = [\"uname\", \"cat\"]", "[run]\nany = true", ""].map(str::to_owned);
    let agents = pool(folder.path(), &owners)?;
    let first = &agents[0];
    let attempt = first.shoal(&["run", "--all", "--", "uname"])?;
    refused(&attempt, NOT_ALLOWED, "admin has no right to send messages of type run")?;
    ensure!(audited(first)? == [entry("uname", "refused")], "{:?}", audited(first)?);

    first.json(&["right", "grant", "admin", "run", "--for", "8h"])?;
    let output = first.shoal(&["run", "--json", "--all", "--", "uname"])?;
    refused(&output, NOT_ALL_DONE, "2 of 3 agents ran it to an end with status 0")?;
    let (events, summary) = told(&output)?;
    ensure!(summary["finished"] == true, "{summary}");
    for name in ["agent-0", "agent-1"] {
        let agent = of(&summary, name)?;
        ensure!(agent["state"] == "done" && agent["status"] == 0 && agent["time_ms"].is_u64(), "{agent}");
        let printed = events.iter().filter(|event| event["event"] == "output" && event["name"] == name);
        ensure!(printed.map(|event| event["text"].as_str()).eq([Some("Linux\n")]), "{events:#?}");
    }
    let closed = of(&summary, "agent-2")?;
    ensure!(closed["state"] == "done" && closed["status"] == 126, "{closed}");
    ensure!(
        closed["why"].as_str().is_some_and(|why| why.contains("lets nobody run commands on it; agent.toml")),
        "{closed}"
    );

    // What is not in the list is not run, a command that is not there is told as such, and input goes nowhere but to the command.
    let output = first.shoal(&["run", "--on", "agent-0", "--", "sh", "-c", "true"])?;
    refused(
        &output,
        NOT_ALL_DONE,
        "agent-0 | status 126: the owner of this PC does not let others run sh; agent.toml",
    )?;
    let output = first.shoal(&["run", "--on", "agent-1", "--", "no-such-command"])?;
    refused(&output, NOT_ALL_DONE, "agent-1 | status 127: there is no program no-such-command here")?;
    let mut fed = Command::new(&first.options().binary);
    fed.args(["run", "--on", "agent-0,agent-1", "--stdin", "--data"]).arg(first.data()).args(["--", "cat"]);
    let mut fed = fed.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut fed.stdin.take().context("stdin")?, b"secret\nwords")?;
    let output = fed.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{text}");
    for line in ["agent-0 | secret", "agent-0 | words", "agent-1 | secret", "agent-1 | words"] {
        ensure!(text.lines().any(|found| found == line), "{text}");
    }

    // A role is needed as well as a right.
    first.json(&["user", "add", "ulla", "--role", "user"])?;
    first.json(&["right", "grant", "ulla", "run"])?;
    let attempt = first.shoal(&["run", "--user", "ulla", "--all", "--", "uname"])?;
    refused(&attempt, NOT_ALLOWED, "need the role operator")?;

    let expected = [
        entry("uname", "begun"),
        entry("uname", "handled"),
        entry("no-such-command", "begun"),
        entry("no-such-command", "handled"),
        entry("cat", "begun"),
        entry("cat", "handled"),
    ];
    ensure!(audited(&agents[1])? == expected, "{:#?}", audited(&agents[1])?);
    let page = agents[1].json(&["audit", "--type", "run", "--limit", "3"])?;
    ensure!(page["entries"][2]["status"] == 127, "{page}");
    let own = first.json(&["nodes"])?["nodes"].as_array().context("nodes")?.clone();
    let sender = own.iter().find(|node| node["name"] == "agent-0").context("agent-0")?["id"].clone();
    ensure!(page["entries"][0]["from"] == sender, "{page}");
    for agent in &agents {
        let log = fs::read_dir(agent.data().join("audit"))?;
        let bytes: Vec<u8> = log.map(|file| Ok(fs::read(file?.path())?)).collect::<Result<Vec<_>>>()?.concat();
        ensure!(!String::from_utf8_lossy(&bytes).contains("secret"), "what a command reads is not in the audit log");
    }
    Ok(())
}

#[test]
fn output_of_three_agents_comes_while_the_commands_run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shared = shared(folder.path())?;
    let agents = pool(folder.path(), &vec![anything_in(&shared); 3])?;
    agents[0].json(&["right", "grant", "admin", "run"])?;
    agents[0].json(&["group", "set", "lab", "agent-0", "agent-1", "agent-2"])?;
    let gate = shared.join("gate");
    let script =
        format!("echo first; echo problem >&2; while [ ! -e {} ]; do sleep 0.05; done; echo second", gate.display());
    let mut running = begin(&agents[0], &["--group", "lab", "--", "sh", "-c", &script])?;
    let mut lines = BufReader::new(running.stdout.take().context("stdout")?).lines();
    let mut early = Vec::new();
    // Were output kept back until a command ends, none would: the gate opens only when all have said something.
    while early.len() < 3 {
        early.push(lines.next().context("it ended early")??);
    }
    early.sort_unstable();
    ensure!(early == ["agent-0 | first", "agent-1 | first", "agent-2 | first"], "{early:?}");
    fs::write(&gate, "")?;
    let rest = lines.collect::<Result<Vec<_>, _>>()?;
    let output = running.wait_with_output()?;
    ensure!(output.status.success(), "{rest:?} {output:?}");
    let errors = String::from_utf8(output.stderr)?;
    for name in ["agent-0", "agent-1", "agent-2"] {
        ensure!(rest.contains(&format!("{name} | second")), "{rest:?}");
        ensure!(errors.lines().any(|line| line == format!("{name} | problem")), "{errors}");
        let row = rest.iter().find(|row| row.starts_with(&format!("{name}  done   0 "))).context("a row")?;
        ensure!(row.contains("ms") || row.contains('s'), "{row}");
    }
    Ok(())
}

#[test]
fn a_command_whose_agent_is_killed_is_never_run_twice() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shared = shared(folder.path())?;
    let mut agents = pool(folder.path(), &[String::new(), anything_in(&shared)])?;
    agents[0].json(&["right", "grant", "admin", "run"])?;
    let ran = shared.join("ran");
    let script = format!("echo ran >> {}; sleep 600", ran.display());
    let times_ran = || fs::read_to_string(&ran).unwrap_or_default().lines().count();
    let running = begin(
        &agents[0],
        &["--json", "--on", "agent-1", "--within", "5m", "--timeout", "10m", "--", "sh", "-c", &script],
    )?;
    wait_until("the command to run", DEADLINE, || Ok((times_ran() > 0).then_some(())))?;
    let away = agents.pop().context("agent-1")?.kill()?;
    let back = AgentProcess::start(away)?;
    let output = running.wait_with_output()?;
    let (_, summary) = told(&output)?;
    ensure!(output.status.code() == Some(NOT_ALL_DONE), "{output:?}");
    let agent = of(&summary, "agent-1")?;
    ensure!(agent["state"] == "refused", "{agent}");
    ensure!(agent["why"].as_str().is_some_and(|why| why.contains("never begun twice")), "{agent}");
    let line = format!("sh -c '{script}'");
    let expected = [entry(&line, "begun"), entry(&line, "unknown"), entry(&line, "refused")];
    ensure!(audited(&back)? == expected, "{:#?}", audited(&back)?);
    // Nor by a second start, and what comes after it is run.
    let back = AgentProcess::start(back.kill()?)?;
    let output = agents[0].shoal(&["run", "--on", "agent-1", "--", "true"])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(times_ran() == 1, "it ran {} times", times_ran());
    ensure!(audited(&back)?.len() == expected.len() + 2);
    Ok(())
}

#[test]
fn a_right_that_ended_while_its_command_was_under_way_is_none_and_who_comes_too_late_does_not_run_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shared = shared(folder.path())?;
    let mut agents = pool(folder.path(), &[String::new(), anything_in(&shared)])?;
    let ran = shared.join("ran");
    let script = format!("echo ran >> {}", ran.display());
    let away = agents.pop().context("agent-1")?.kill()?;

    // It is asked for while the right lasts, and comes to its agent when it has ended.
    agents[0].json(&["right", "grant", "admin", "run", "--for", "3s"])?;
    let running = begin(&agents[0], &["--json", "--on", "agent-1", "--within", "5m", "--", "sh", "-c", &script])?;
    wait_until("the right to end", DEADLINE, || {
        let list = agents[0].json(&["right", "list"])?;
        Ok((list[0]["ended"] == true).then_some(()))
    })?;
    let attempt = agents[0].shoal(&["run", "--all", "--", "true"])?;
    refused(&attempt, NOT_ALLOWED, "the right of admin to send messages of type run has ended")?;
    let back = AgentProcess::start(away)?;
    let output = running.wait_with_output()?;
    let (_, summary) = told(&output)?;
    let agent = of(&summary, "agent-1")?;
    ensure!(
        agent["state"] == "refused" && agent["why"].as_str().is_some_and(|why| why.contains("has ended")),
        "{agent}"
    );
    ensure!(audited(&back)? == [entry(&format!("sh -c '{script}'"), "refused")], "{:#?}", audited(&back)?);

    // Its time is over before its agent comes back.
    agents[0].json(&["right", "grant", "admin", "run"])?;
    let away = back.kill()?;
    let output = agents[0].shoal(&[
        "run",
        "--json",
        "--on",
        "agent-1",
        "--within",
        "2s",
        "--timeout",
        "1s",
        "--",
        "sh",
        "-c",
        &script,
    ])?;
    let (_, summary) = told(&output)?;
    ensure!(of(&summary, "agent-1")?["state"] == "expired", "{summary}");
    let back = AgentProcess::start(away)?;
    let output = agents[0].shoal(&["run", "--on", "agent-1", "--", "true"])?;
    ensure!(output.status.success(), "{output:?}");
    if ran.exists() {
        bail!("it was run by {:?}", back.options().data);
    }
    Ok(())
}

#[test]
fn on_a_full_disk_it_is_refused_at_once_with_the_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(folder.path().join("small"), 160 * 1024 * 1024)? else {
        eprintln!("skipped: only root may mount the small disk this test fills");
        return Ok(());
    };
    let shared = shared(folder.path())?;
    let binary = Path::new(env!("CARGO_BIN_EXE_shoal"));
    let agents = start_pool(binary, folder.path(), free_port_base(100)?, 2, |options| {
        if options.data.ends_with("agent-1") {
            options.data = disk.path().join("agent-1");
        }
        options.arguments = ["--reserve", "0", "--cap", "50000000"].map(str::to_owned).to_vec();
        owner_says(options, &anything_in(&shared))
    })?;
    let first = &agents[0];
    first.json(&["right", "grant", "admin", "run"])?;
    let ran = first.shoal(&["run", "--on", "agent-1", "--", "uname"])?;
    ensure!(ran.status.success(), "{ran:?}");

    let mark = shared.join("it-ran");
    let command = ["--timeout", "30s", "--within", "30s", "--", "touch", mark.to_str().context("a path")?];
    // Until there is nothing left, whatever the agent gives up to go on.
    let refused = wait_until("the disk to be full to the agent too", DEADLINE, || {
        disk.fill()?;
        let output = first.shoal(&[&["run", "--json", "--on", "agent-1"], &command[..]].concat())?;
        let (_, summary) = told(&output)?;
        let agent = of(&summary, "agent-1")?.clone();
        ensure!(agent["state"] != "running" && agent["state"] != "asleep", "{summary}");
        let is_refused = agent["state"] == "refused";
        fs::remove_file(&mark).or_else(|error| if is_refused { Ok(()) } else { Err(error) })?;
        Ok(is_refused.then_some((agent, summary)))
    })?;
    let (agent, summary) = refused;
    ensure!(agent["why"].as_str().is_some_and(|why| why.contains("program output cannot be kept")), "{agent}");
    ensure!(summary["finished"] == true && !mark.exists(), "{summary}");

    // With room it goes on, and what was refused is not run later.
    fs::remove_file(disk.filler())?;
    wait_until("commands to be run again", DEADLINE, || {
        Ok(first.shoal(&["run", "--on", "agent-1", "--", "uname"])?.status.success().then_some(()))
    })?;
    ensure!(!mark.exists(), "it ran though it was refused");
    Ok(())
}
