//! The step that watches: starts the program, ends it when it is told to, when it uses too much or when the agent is gone,
//! ends what it leaves behind, and reports.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{
    PidfdFlags, Signal, getpid, getppid, kill_process_group, pidfd_open, set_child_subreaper, setsid,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::spec::{CONTROL_FILE, Ended, FAILURE_FILE, REPORT_FILE, Report, Spec};
use super::{ASK, CONFINE, END, tree};

/// How often the program's memory and processes are looked at: soon after the start, then more seldom while little is used.
const WATCH_FIRST: Duration = Duration::from_millis(50);
/// No more seldom than this.
const WATCH_LIMIT: Duration = Duration::from_millis(250);
/// Bytes of orders read at once; one counts.
const ORDERS_BYTES: usize = 16;
/// Where a program's status could not be had.
const UNKNOWN_STATUS: i32 = 255;

/// One program that is watched.
struct Watch {
    spec: Spec,
    child: u32,
    child_fd: OwnedFd,
    control: File,
    own: u32,
}

/// What there is to do.
enum Order {
    Look,
    Ask,
    Kill,
    Gone,
    Ended,
}

/// Starts the program of a folder with this very binary; `command`: what stands before its step's word. Answers the exit status.
pub(super) fn run(folder: &Path, command: &[&str]) -> Result<u8, String> {
    // Away from the terminal's Ctrl-C: the agent says when it is over.
    setsid().map_err(|error| format!("cannot begin a session: {error}"))?;
    let own = getpid();
    set_child_subreaper(Some(own)).map_err(|error| format!("cannot adopt processes: {error}"))?;
    let spec = Spec::load(folder)?;
    let control = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(folder.join(CONTROL_FILE))
        .map_err(|error| format!("cannot open the control FIFO: {error}"))?;
    if getppid() != tree::pid(spec.agent) {
        return Err("the agent is gone".to_owned());
    }
    // This binary, even where an update has put another in its place.
    let child = Command::new("/proc/self/exe").args(command).arg(CONFINE).arg(folder).spawn();
    let child = child.map_err(|error| format!("cannot start a process: {error}"))?.id();
    let own = own.as_raw_pid().unsigned_abs();
    let watch = match Watch::begin(spec, child, control, own) {
        Ok(watch) => watch,
        Err(why) => {
            // What is not watched does not run.
            tree::end_tree(own, Some(child));
            return Err(why);
        }
    };
    let report = watch.until_the_end(folder);
    write_report(folder, &report)?;
    Ok(match report.ended {
        Ended::Exited(status) => u8::try_from(status).unwrap_or(u8::MAX),
        _ => super::FAILED_STATUS,
    })
}

/// The program's streams are the program's alone: whoever holds the other ends must see when it closes them.
fn let_go_of_streams() -> std::io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

fn write_report(folder: &Path, report: &Report) -> Result<(), String> {
    let path = folder.join(REPORT_FILE);
    let bytes = serde_json::to_vec(report).map_err(|error| error.to_string())?;
    std::fs::write(&path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// What the other step says where it could not become the program.
fn failure(folder: &Path) -> Option<Ended> {
    let why = std::fs::read_to_string(folder.join(FAILURE_FILE)).ok()?;
    Some(why).filter(|why| !why.is_empty()).map(Ended::NotStarted)
}

impl Watch {
    fn begin(spec: Spec, child: u32, control: File, own: u32) -> Result<Self, String> {
        let pid = tree::pid(child).ok_or("the process has no id")?;
        let child_fd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| format!("cannot watch it: {error}"))?;
        let_go_of_streams().map_err(|error| format!("cannot let go of the program's streams: {error}"))?;
        Ok(Self { spec, child, child_fd, control, own })
    }

    fn until_the_end(self, folder: &Path) -> Report {
        let mut rest = WATCH_FIRST;
        let fate = loop {
            match self.wait(rest) {
                Order::Ended => break None,
                Order::Kill | Order::Gone => break Some(Ended::Killed),
                Order::Ask => self.ask(),
                Order::Look => {
                    rest = (rest * 2).min(WATCH_LIMIT);
                    if let Some(fate) = self.too_much() {
                        break Some(fate);
                    }
                }
            }
        };
        let (_, left_behind) = tree::end_tree(self.own, Some(self.child));
        let status = tree::reap(self.child).unwrap_or(UNKNOWN_STATUS);
        if matches!(fate, Some(Ended::Killed)) && getppid() != tree::pid(self.spec.agent) {
            // Nobody will read a report or clear up.
            let _ = std::fs::remove_dir_all(folder);
        }
        let ended = fate.or_else(|| failure(folder)).unwrap_or(Ended::Exited(status));
        Report { ended, left_behind }
    }

    /// Waits for an order, for the program's end, or for the time of the next look.
    fn wait(&self, rest: Duration) -> Order {
        let timeout = Timespec { tv_sec: rest.as_secs().cast_signed(), tv_nsec: rest.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.control, PollFlags::IN), PollFd::new(&self.child_fd, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).is_err() {
            return Order::Look;
        }
        let [control, child] = [fds[0].revents(), fds[1].revents()];
        if child.contains(PollFlags::IN) {
            return Order::Ended;
        }
        if control.contains(PollFlags::IN) {
            let mut orders = [0; ORDERS_BYTES];
            let count = (&self.control).read(&mut orders).unwrap_or(0);
            let orders = orders.get(..count).unwrap_or_default();
            return match (orders.contains(&END), orders.contains(&ASK)) {
                (true, _) => Order::Kill,
                (_, true) => Order::Ask,
                _ => Order::Look,
            };
        }
        if control.contains(PollFlags::HUP) { Order::Gone } else { Order::Look }
    }

    fn ask(&self) {
        if let Some(group) = tree::pid(self.child) {
            // Before it has become a session of its own it is only itself.
            let sent = kill_process_group(group, Signal::TERM);
            if sent.is_err() {
                let _ = rustix::process::kill_process(group, Signal::TERM);
            }
        }
    }

    fn too_much(&self) -> Option<Ended> {
        tree::reap_others(self.own, self.child);
        let usage = tree::usage(self.own);
        if usage.memory_bytes > self.spec.memory_bytes {
            return Some(Ended::Memory(usage.memory_bytes));
        }
        (usage.tasks > self.spec.processes).then_some(Ended::Processes(usage.tasks))
    }
}
