//! Real commands, run as the host would have them run.
#![allow(clippy::expect_used, reason = "this is test code, though not in a #[test] itself")]

use std::io::{self, Write};
use std::time::{Duration, Instant};

use dci_proto::message::Body;
use shoal_run::{
    Allow, OUTPUT_LIMIT_BYTES, Reply, Request, STATUS_FAILED, STATUS_NOT_ALLOWED, STATUS_NOT_FOUND, STATUS_TIMED_OUT,
    Stream, run_with,
};

/// What one that ignores being asked may take beyond its time, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of a command.
#[derive(Debug)]
struct Told {
    out: String,
    err: String,
    replies: usize,
    status: i32,
    why: String,
}

fn request(words: &[&str]) -> Request {
    let mut words = words.iter().map(|word| (*word).to_owned());
    let command = words.next().expect("a command");
    Request { command, arguments: words.collect(), input: None, timeout_s: 60 }
}

/// The line with which the host brings a message.
fn line(request: &Request) -> Vec<u8> {
    let xml = request.to_body().expect("a request").as_xml().to_owned();
    serde_json::to_vec(&serde_json::json!({ "id": "x", "xml": xml })).expect("JSON")
}

fn read(printed: &[u8]) -> Told {
    let mut told = Told { out: String::new(), err: String::new(), replies: 0, status: -1, why: String::new() };
    let lines: Vec<&str> = std::str::from_utf8(printed).expect("text").lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let body = Body::of_xml(value["xml"].as_str().expect("xml").to_owned()).expect("a body");
        let last = number + 1 == lines.len();
        assert_eq!(value["more"], !last, "only the last reply settles the message");
        match Reply::of_body(&body).expect("a reply") {
            Reply::Output { stream: Stream::Out, text } => told.out += &text,
            Reply::Output { stream: Stream::Err, text } => told.err += &text,
            Reply::Ended { status, why, .. } => {
                assert!(last, "nothing comes after the end");
                assert_eq!(value["status"], status);
                (told.status, told.why) = (status, why);
            }
        }
        told.replies += 1;
    }
    told
}

fn run(request: &Request, allow: &Allow) -> Told {
    let mut printed = Vec::new();
    let status = run_with(line(request).as_slice(), &mut printed, allow);
    let told = read(&printed);
    assert_eq!(i32::from(status), told.status, "by its own status the host knows what became of the message");
    told
}

fn any(words: &[&str]) -> Told {
    run(&request(words), &Allow::Any)
}

fn only(programs: &[&str]) -> Allow {
    Allow::only(programs.iter().map(|program| (*program).to_owned()).collect()).expect("a list")
}

/// A process that has been ended is gone soon, though whose child it is may not have asked for its status.
fn assert_ends(pid: &str) {
    let began = Instant::now();
    let runs = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    };
    while runs() {
        assert!(began.elapsed() < PATIENCE, "process {pid} still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_command_runs_and_its_status_comes_back() {
    let told = any(&["true"]);
    assert_eq!((told.status, told.replies, told.why.as_str()), (0, 1, ""));
    assert_eq!(any(&["false"]).status, 1);
    let told = any(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((told.out.as_str(), told.err.as_str(), told.status), ("out\n", "err\n", 7));
    let told = any(&["sh", "-c", "kill -9 $$"]);
    assert_eq!((told.status, told.why.as_str()), (137, "it was ended by signal 9"));
}

#[test]
fn arguments_go_to_the_command_as_they_are_and_no_shell_reads_them() {
    let told = any(&["printf", "%s|", "a b", "$HOME", ";echo x", "", "*"]);
    assert_eq!(told.out, "a b|$HOME|;echo x||*|");
}

#[test]
fn the_input_is_what_the_command_reads_and_without_one_there_is_nothing() {
    let cat = Request { input: Some("line\r\né李\n".into()), ..request(&["cat"]) };
    assert_eq!(run(&cat, &Allow::Any).out, "line\r\né李\n");
    assert_eq!(any(&["cat"]).status, 0, "it does not wait for more");
    let unread = Request { input: Some("x".repeat(100_000)), ..request(&["true"]) };
    assert_eq!(run(&unread, &Allow::Any).status, 0, "one that does not read is not waited for");
}

#[test]
fn output_comes_while_the_command_runs() {
    /// Notes when something was printed, and lets the command go on then.
    struct Watched {
        printed: Vec<u8>,
        go_on: std::path::PathBuf,
    }
    impl Write for Watched {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.printed.extend_from_slice(bytes);
            if String::from_utf8_lossy(&self.printed).contains("first") {
                std::fs::write(&self.go_on, "")?;
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let folder = tempfile::tempdir().expect("folder");
    let go_on = folder.path().join("go-on");
    let script = format!("echo first; while [ ! -e {} ]; do sleep 0.01; done; echo second", go_on.display());
    let mut stdout = Watched { printed: Vec::new(), go_on };
    // Were the first line kept back until the end, there would be no end.
    assert_eq!(run_with(line(&request(&["sh", "-c", &script])).as_slice(), &mut stdout, &Allow::Any), 0);
    let told = read(&stdout.printed);
    assert_eq!((told.out.as_str(), told.status), ("first\nsecond\n", 0));
    assert!(told.replies >= 3);
}

#[test]
fn a_command_whose_time_is_over_is_ended_even_if_it_ignores_that_and_so_is_what_it_started() {
    let began = Instant::now();
    let stubborn =
        "trap '' TERM; sh -c \"trap '' TERM; sleep 987654 & wait\" & echo pids $$ $!; while :; do sleep 1; done";
    let told = run(&Request { timeout_s: 1, ..request(&["sh", "-c", stubborn]) }, &Allow::Any);
    assert_eq!((told.status, told.why.as_str()), (STATUS_TIMED_OUT, "it took more than 1 s and was ended"));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let pids: Vec<String> = told.out.trim().split(' ').skip(1).map(str::to_owned).collect();
    assert_eq!(pids.len(), 2);
    pids.iter().for_each(|pid| assert_ends(pid));
}

#[test]
fn one_that_ends_when_asked_is_not_waited_for_longer() {
    let began = Instant::now();
    let told = run(&Request { timeout_s: 1, ..request(&["sleep", "987654"]) }, &Allow::Any);
    assert_eq!(told.status, STATUS_TIMED_OUT);
    assert!(began.elapsed() < Duration::from_secs(5), "its grace was not needed: {:?}", began.elapsed());
}

#[test]
fn ten_gigabytes_are_stopped_by_the_limit() {
    let began = Instant::now();
    let told = any(&["head", "-c", "10000000000", "/dev/zero"]);
    assert_eq!(told.status, STATUS_FAILED);
    assert_eq!(told.why, "it printed more than 4 MiB and was ended; the rest is cut off");
    assert_eq!(told.out.chars().count() as u64, OUTPUT_LIMIT_BYTES);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn binary_output_comes_back_readable() {
    let told = any(&["printf", r"\033[31m\000\377\303\251\n"]);
    assert_eq!(told.out, "␛[31m␀\u{fffd}é\n");
}

#[test]
fn what_a_command_leaves_running_is_ended_and_not_waited_for() {
    let began = Instant::now();
    let told = any(&["sh", "-c", "sleep 987653 & echo $!"]);
    assert_eq!(told.status, 0);
    assert!(began.elapsed() < PATIENCE);
    assert_ends(told.out.trim());
}

#[test]
fn a_command_that_is_not_there_is_told_apart_from_one_that_cannot_run() {
    let told = any(&["no-such-command-anywhere"]);
    assert_eq!(told.status, STATUS_NOT_FOUND);
    assert!(told.why.starts_with("there is no program no-such-command-anywhere here"), "{}", told.why);
    assert_eq!(any(&["./true"]).status, STATUS_NOT_FOUND, "nothing is looked for where it happens to be");
    let folder = tempfile::tempdir().expect("folder");
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").expect("written");
    assert_eq!(any(&[&script.to_string_lossy()]).status, STATUS_NOT_FOUND, "it may not be executed");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("it is ours");
    let told = any(&[&script.to_string_lossy()]);
    assert_eq!(told.status, STATUS_NOT_FOUND);
    assert!(told.why.ends_with("names an interpreter that is not there"), "{}", told.why);
    std::fs::write(&script, [0x7f, b'E', b'L', b'F']).expect("written");
    let told = any(&[&script.to_string_lossy()]);
    assert_eq!(told.status, STATUS_NOT_ALLOWED);
    assert!(told.why.starts_with("the system does not run"), "{}", told.why);
}

#[test]
fn the_owner_says_what_may_be_run() {
    let told = run(&request(&["true"]), &Allow::default());
    assert_eq!(told.status, STATUS_NOT_ALLOWED);
    assert!(told.why.contains("lets nobody run commands on it; agent.toml"), "{}", told.why);
    let told = run(&request(&["cat", "/etc/hostname"]), &only(&["true", "uptime"]));
    assert_eq!((told.status, told.out.as_str()), (STATUS_NOT_ALLOWED, ""));
    assert!(told.why.contains("does not let others run cat; agent.toml"), "{}", told.why);
    for (programs, command, status) in [
        (&["true"][..], "true", 0),
        (&["true"], "/bin/true", 0),
        (&["/bin/true"], "true", 0),
        (&["true"], "sh", STATUS_NOT_ALLOWED),
        (&["/bin/no-such-command"], "/bin/no-such-command", STATUS_NOT_FOUND),
    ] {
        assert_eq!(run(&request(&[command]), &only(programs)).status, status, "{programs:?} {command}");
    }
    let folder = tempfile::tempdir().expect("folder");
    let other = folder.path().join("true");
    std::fs::copy("/bin/true", &other).expect("a copy");
    assert_eq!(
        run(&request(&[&other.to_string_lossy()]), &only(&["true"])).status,
        STATUS_NOT_ALLOWED,
        "another one of that name"
    );
}

#[test]
fn what_is_no_request_is_answered_with_why() {
    for bad in ["", "nonsense\n", "{\"xml\":\"text\"}\n", "{\"xml\":\"<run/>\"}\n", "{\"xml\":\"<a>\"}\n"] {
        let mut printed = Vec::new();
        assert_eq!(i32::from(run_with(bad.as_bytes(), &mut printed, &Allow::Any)), STATUS_FAILED);
        let told = read(&printed);
        assert!(told.status == STATUS_FAILED && !told.why.is_empty(), "{bad}: {told:?}");
    }
}

#[test]
fn a_command_nobody_listens_to_is_ended() {
    struct Deaf;
    impl Write for Deaf {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let began = Instant::now();
    let endless = request(&["sh", "-c", "while :; do echo x; sleep 0.1; done"]);
    assert_eq!(i32::from(run_with(line(&endless).as_slice(), Deaf, &Allow::Any)), STATUS_FAILED);
    assert!(began.elapsed() < PATIENCE);
}
