//! `shoal flow` on real agents (D8): what one step gives goes into the next, on another PC; a hundred runs are spread over the
//! pool; what fails fails what needs it; Ctrl-C ends with what there is. The examples of the guide are what is run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_testkit::{AgentProcess, free_port_base, start_pool, wait_until};

/// How long something that comes about by itself may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How a flow with a step that is not done ends.
const NOT_ALL_DONE: i32 = 14;
/// How it ends after Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Three agents that let others run anything, and a folder that all of them may write to.
struct Pool {
    agents: Vec<AgentProcess>,
    folder: tempfile::TempDir,
}

impl Pool {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let shared = folder.path().join("shared");
        fs::create_dir(&shared)?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777))?;
        let binary = Path::new(env!("CARGO_BIN_EXE_shoal"));
        let agents = start_pool(binary, folder.path(), free_port_base(30)?, 3, |options| {
            fs::create_dir_all(&options.data)?;
            let owner = format!("version = 1\n[run]\nany = true\nwrite = [{shared:?}]\n");
            Ok(fs::write(options.data.join("agent.toml"), owner)?)
        })?;
        agents[0].json(&["right", "grant", "admin", "run", "--for", "8h"])?;
        Ok(Self { agents, folder })
    }

    fn shared(&self) -> PathBuf {
        self.folder.path().join("shared")
    }

    /// An example of the guide with agents, addresses and folders that are there.
    fn example(&self, name: &str) -> Result<PathBuf> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../peerlets/flow/examples").join(name);
        let mut text = fs::read_to_string(file)?;
        let shared = self.shared().display().to_string();
        for (from, to) in [
            ("https://example.org", format!("file://{shared}")),
            ("/var/tmp", shared),
            ("on = \"a\"", "on = \"agent-0\"".to_owned()),
            ("on = \"b\"", "on = \"agent-1\"".to_owned()),
            ("on = \"c\"", "on = \"agent-2\"".to_owned()),
        ] {
            text = text.replace(from, &to);
        }
        self.file(&text)
    }

    fn file(&self, text: &str) -> Result<PathBuf> {
        let file = self.folder.path().join("flow.toml");
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Runs a flow and reads what it prints as JSON.
    fn run(&self, file: &Path, arguments: &[&str]) -> Result<(Output, Value)> {
        let file = file.display().to_string();
        let output = self.agents[0].shoal(&[&["flow", "run", &file, "--json"], arguments].concat())?;
        let report = serde_json::from_slice(&output.stdout).with_context(|| format!("no report: {output:?}"))?;
        Ok((output, report))
    }
}

/// The runs of a step.
fn runs<'a>(report: &'a Value, step: &str) -> Result<&'a Vec<Value>> {
    let mut steps = report["steps"].as_array().context("steps")?.iter();
    let step = steps.find(|found| found["name"] == step).with_context(|| format!("no {step} in {report}"))?;
    step["runs"].as_array().context("runs")
}

fn state<'a>(report: &'a Value, step: &str) -> &'a str {
    let steps = report["steps"].as_array();
    let step = steps.and_then(|steps| steps.iter().find(|found| found["name"] == step));
    step.and_then(|step| step["state"].as_str()).unwrap_or_default()
}

#[test]
fn what_is_fetched_on_one_agent_is_combined_on_another_and_stored_on_a_third() -> Result<()> {
    let pool = Pool::start()?;
    for (station, readings) in
        [("north", "north,11.5\nnorth,9\n"), ("south", "south,21.25\n"), ("harbour", "harbour,14\nbroken\n")]
    {
        fs::write(pool.shared().join(format!("{station}.csv")), readings)?;
    }
    let file = pool.example("fetch-combine-store.toml")?;
    let results = pool.folder.path().join("results");
    let (output, report) = pool.run(&file, &["--output", &results.display().to_string()])?;
    ensure!(output.status.success() && report["state"] == "done", "{output:?}");
    for (step, agent, count) in [("fetch", "agent-1", 3), ("combine", "agent-0", 1), ("store", "agent-2", 1)] {
        let runs = runs(&report, step)?;
        ensure!(runs.len() == count && runs.iter().all(|run| run["agent"] == agent), "{step}: {runs:#?}");
    }
    ensure!(runs(&report, "warmest")?[0]["output"] == "south|21.25\n", "{report:#}");
    let stored =
        Command::new("sqlite3").arg(pool.shared().join("readings.db")).arg("SELECT count(*) FROM readings").output()?;
    ensure!(stored.stdout == b"4\n", "{stored:?}");
    ensure!(fs::read_to_string(results.join("warmest.txt"))? == "south|21.25\n");
    ensure!(fs::read_to_string(results.join("fetch/00002-agent-1.txt"))? == "south,21.25\n");
    let kept: Value = serde_json::from_slice(&fs::read(results.join("results.json"))?)?;
    ensure!(kept == report, "the folder has other results than were printed");

    // For people: what the last step gave on standard output, the steps on standard error. The folder is not written over.
    let shown = file.display().to_string();
    let output = pool.agents[0].shoal(&["flow", "run", &shown])?;
    ensure!(output.stdout == b"south|21.25\n", "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(told.contains("✓ store done on agent-2") && told.contains("4 of 4 steps over"), "{told}");
    let again = pool.agents[0].shoal(&["flow", "run", &shown, "--output", &results.display().to_string()])?;
    ensure!(again.status.code() == Some(5), "{again:?}");
    Ok(())
}

#[test]
fn a_hundred_runs_are_spread_over_the_pool_and_added_up() -> Result<()> {
    let pool = Pool::start()?;
    let begin = Instant::now();
    let (output, report) = pool.run(&pool.example("spread.toml")?, &[])?;
    ensure!(output.status.success(), "{output:?}");
    let runs_of_throw = runs(&report, "throw")?;
    ensure!(runs_of_throw.len() == 100);
    let mut by_agent: BTreeMap<&str, u32> = BTreeMap::new();
    for run in runs_of_throw {
        *by_agent.entry(run["agent"].as_str().context("an agent")?).or_default() += 1;
    }
    ensure!(by_agent.len() == 3 && by_agent.values().all(|count| *count >= 10), "{by_agent:?}");
    let pi: f64 = runs(&report, "pi")?[0]["output"].as_str().context("pi")?.trim().parse()?;
    ensure!((3.1..3.2).contains(&pi), "pi is {pi}");
    println!("100 runs over 3 agents in {:.1} s: {by_agent:?}", begin.elapsed().as_secs_f32());
    Ok(())
}

#[test]
fn what_fails_fails_what_needs_it_and_is_tried_as_often_as_agreed() -> Result<()> {
    let pool = Pool::start()?;
    let tries = pool.shared().join("tries");
    let text = format!(
        r#"
        [[step]]
        name = "second-try"
        run = ["sh", "-c", "echo x >> {tries}; test $(wc -l < {tries}) -ge 2 && echo there"]
        retries = 2
        [[step]]
        name = "never"
        run = ["sh", "-c", "echo why >&2; exit 3"]
        retries = 1
        [[step]]
        name = "not-there"
        run = ["no-such-program"]
        [[step]]
        name = "slow"
        run = ["sleep", "60"]
        on = "agent-1"
        timeout_s = 2
        [[step]]
        name = "after-second-try"
        run = ["cat"]
        input = "{{{{ second-try.output }}}}!"
        on = "all"
        [[step]]
        name = "after-never"
        run = ["true"]
        needs = ["never"]
        "#,
        tries = tries.display()
    );
    let (output, report) = pool.run(&pool.file(&text)?, &[])?;
    ensure!(output.status.code() == Some(NOT_ALL_DONE), "{output:?}");
    let states = ["second-try", "never", "not-there", "slow", "after-second-try", "after-never"]
        .map(|step| state(&report, step));
    ensure!(states == ["done", "failed", "failed", "failed", "done", "skipped"], "{report:#}");
    ensure!(runs(&report, "second-try")?[0]["attempts"] == 2);
    let never = &runs(&report, "never")?[0];
    ensure!(never["attempts"] == 2 && never["exit_status"] == 3 && never["output"] == "why\n", "{never}");
    let said =
        |step: &str| Ok::<_, anyhow::Error>(runs(&report, step)?[0]["why"].as_str().unwrap_or_default().to_owned());
    ensure!(said("not-there")?.contains("there is no program no-such-program"), "{}", said("not-there")?);
    ensure!(said("slow")?.contains("took more than 2 s"), "{}", said("slow")?);
    let everywhere = runs(&report, "after-second-try")?;
    ensure!(everywhere.len() == 3 && everywhere.iter().all(|run| run["output"] == "there!"), "{everywhere:#?}");
    Ok(())
}

#[test]
fn ctrl_c_starts_nothing_more_and_tells_what_there_is() -> Result<()> {
    let pool = Pool::start()?;
    let file = pool.file(
        "[[step]]\nname = \"quick\"\nrun = [\"echo\", \"one\"]\n[[step]]\nname = \"long\"\nrun = [\"sleep\", \"30\"]\nneeds = [\"quick\"]\n\
         [[step]]\nname = \"after\"\nrun = [\"echo\"]\nneeds = [\"long\"]\n",
    )?;
    let agent = &pool.agents[0];
    let mut command = Command::new(&agent.options().binary);
    command.args(["flow", "run", "--json", "--data"]).arg(agent.data()).arg(&file).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("standard error")?).lines();
    let running = lines.by_ref().map_while(Result::ok).find(|line| line.contains("long running"));
    ensure!(running.is_some(), "the long step does not begin");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id())?).context("a process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    let ended = wait_until("the flow to end after Ctrl-C", DEADLINE, || Ok(child.try_wait()?))?;
    ensure!(ended.code() == Some(INTERRUPTED), "{ended}");
    let report: Value = serde_json::from_reader(child.stdout.take().context("standard output")?)?;
    ensure!(
        ["quick", "long", "after"].map(|step| state(&report, step)) == ["done", "stopped", "stopped"],
        "{report:#}"
    );
    Ok(())
}

#[test]
fn a_file_that_makes_no_sense_or_names_agents_that_are_not_there_is_refused_before_anything_runs() -> Result<()> {
    let pool = Pool::start()?;
    let refused = |text: &str, command: &str, code: i32, said: &str| -> Result<()> {
        let file = pool.file(text)?.display().to_string();
        let output = pool.agents[0].shoal(&["flow", command, &file])?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code) && told.contains(said), "{output:?}");
        Ok(())
    };
    let nowhere = "[[step]]\nname = \"a\"\nrun = [\"true\"]\non = \"attic\"";
    refused(nowhere, "run", 5, "step a: there is no agent \"attic\"; there are agent-0, agent-1, agent-2")?;
    refused("[[step]]\nname = \"a\"", "check", 2, "step a: it has neither run, a command, nor type")?;
    let file = pool.example("spread.toml")?.display().to_string();
    let output = pool.agents[0].shoal(&["flow", "check", &file])?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && told.contains("throw  run   any agent  100"), "{told}");
    Ok(())
}
