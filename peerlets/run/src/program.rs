//! The program that the host starts for a message of type `run`: a line of JSON in, lines of JSON out.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dci_proto::message::Body;
use serde::{Deserialize, Serialize};

use crate::allow::is_program_word;
use crate::command::{self, Cause, End};
use crate::{
    ALLOW_VARIABLE, Allow, OUTPUT_LIMIT_BYTES, Reply, Request, STATUS_FAILED, STATUS_NOT_ALLOWED, STATUS_NOT_FOUND,
    STATUS_TIMED_OUT,
};

/// Bytes of the line that brings the message: 1 MiB, all of it as escapes.
const LINE_LIMIT_BYTES: u64 = 8 * 1024 * 1024;
/// Where programs are looked for, where the environment does not say.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MIB: u64 = 1024 * 1024;

/// What the program needs of a message.
#[derive(Deserialize)]
struct Message {
    xml: String,
}

/// A reply for the host.
#[derive(Serialize)]
struct Line<'a> {
    xml: &'a str,
    more: bool,
    status: i32,
}

/// Runs the command of the message on standard input, as far as the owner allows it (in the environment). Answers the program's
/// own exit status, which is the command's: by it the host says what became of the message.
pub fn run(stdin: impl Read, stdout: impl Write) -> u8 {
    let allow = Allow::of_variable(&std::env::var(ALLOW_VARIABLE).unwrap_or_default());
    run_with(stdin, stdout, &allow)
}

/// The same with what the owner allows.
pub fn run_with(stdin: impl Read, mut stdout: impl Write, allow: &Allow) -> u8 {
    let began = Instant::now();
    let mut tell = |reply: Reply| say(&mut stdout, &reply);
    let ended =
        read(stdin).map_or_else(|why| Ok((STATUS_FAILED, why)), |request| carry_out(&request, allow, &mut tell));
    let told = ended.and_then(|(status, why)| {
        tell(Reply::Ended { status, time_ms: ms(began.elapsed()), why })?;
        Ok(status)
    });
    u8::try_from(told.unwrap_or(STATUS_FAILED)).unwrap_or(u8::MAX)
}

fn say(stdout: &mut impl Write, reply: &Reply) -> io::Result<()> {
    let body = reply.to_body().map_err(io::Error::other)?;
    let (more, status) = match reply {
        Reply::Output { .. } => (true, 0),
        Reply::Ended { status, .. } => (false, *status),
    };
    let mut line = serde_json::to_vec(&Line { xml: body.as_xml(), more, status })?;
    line.push(b'\n');
    stdout.write_all(&line)?;
    stdout.flush()
}

/// The request; or why there is none.
fn read(stdin: impl Read) -> Result<Request, String> {
    let mut line = Vec::new();
    let read = BufReader::new(stdin).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line);
    read.map_err(|error| format!("the message cannot be read: {error}"))?;
    let message: Message =
        serde_json::from_slice(&line).map_err(|error| format!("the host's line is none: {error}"))?;
    let body = Body::of_xml(message.xml).map_err(|error| error.to_string())?;
    Request::of_body(&body).map_err(|error| error.to_string())
}

/// Runs the command; answers its status and what else is to be said.
fn carry_out(
    request: &Request,
    allow: &Allow,
    tell: &mut dyn FnMut(Reply) -> io::Result<()>,
) -> io::Result<(i32, String)> {
    let word = shown(&request.command);
    if !allow.permits(&request.command, find) {
        let why = match allow == &Allow::default() {
            true => "the owner of this PC lets nobody run commands on it; agent.toml there can allow some under [run]"
                .into(),
            false => format!(
                "the owner of this PC does not let others run {word}; agent.toml there says what is allowed, under [run]"
            ),
        };
        return Ok((STATUS_NOT_ALLOWED, why));
    }
    let Some(program) = find(&request.command) else {
        let why = format!("there is no program {word} here; name one of the system's folders, or an absolute path");
        return Ok((STATUS_NOT_FOUND, why));
    };
    match command::start(&program, request) {
        Ok(running) => running.tell(tell).map(|end| verdict(end, request.timeout_s)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok((STATUS_NOT_FOUND, format!("{word} names an interpreter that is not there")))
        }
        Err(error) => Ok((STATUS_NOT_ALLOWED, format!("the system does not run {word}: {error}"))),
    }
}

fn verdict(end: End, timeout_s: u64) -> (i32, String) {
    let mib = OUTPUT_LIMIT_BYTES / MIB;
    match end.cause {
        Cause::Time => (STATUS_TIMED_OUT, format!("it took more than {timeout_s} s and was ended")),
        Cause::Order => (STATUS_FAILED, format!("it printed more than {mib} MiB and was ended; the rest is cut off")),
        Cause::Itself if end.over => (end.status, format!("it printed more than {mib} MiB; the rest is cut off")),
        Cause::Itself => {
            (end.status, end.signal.map_or_else(String::new, |signal| format!("it was ended by signal {signal}")))
        }
    }
}

/// Where a program is: in the folder by its real name, so that two ways to it are the same. Links of programs themselves are left:
/// many names may lead to one file that does different things by them.
fn find(word: &str) -> Option<PathBuf> {
    if !is_program_word(word) {
        return None;
    }
    if word.starts_with('/') {
        return program(Path::new(word));
    }
    let path = std::env::var("PATH").unwrap_or_else(|_| SEARCH_PATH.to_owned());
    path.split(':').filter(|folder| folder.starts_with('/')).find_map(|folder| program(&Path::new(folder).join(word)))
}

fn program(path: &Path) -> Option<PathBuf> {
    let real = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
    let found = real.metadata().ok()?;
    (found.is_file() && found.permissions().mode() & 0o111 != 0).then_some(real)
}

/// A word for a sentence.
fn shown(word: &str) -> String {
    const LIMIT_CHARS: usize = 100;
    word.chars().take(LIMIT_CHARS).flat_map(char::escape_debug).collect()
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
