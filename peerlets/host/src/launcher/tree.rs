//! The processes below one: who they are, what they use, and their end.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait, waitpid};

/// Processes looked at below one, at most. Above any limit a manifest may have.
const LOOK_LIMIT: usize = 65_536;
/// Rounds of stopping what is found until nothing new is.
const STOP_ROUNDS: usize = 64;
/// Rounds of ending what is left, with a rest between them.
const END_ROUNDS: usize = 400;
/// The rest.
const END_REST: Duration = Duration::from_millis(5);
/// Bytes in a KiB, the unit of `/proc`.
const KIB: u64 = 1024;

/// What the processes below one use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processes and threads.
    pub(super) tasks: u64,
    /// Memory that is theirs: not that of files. What two processes share counts for each.
    pub(super) memory_bytes: u64,
}

/// The processes below one, without it.
pub(super) fn descendants(of: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut todo = vec![of];
    while let Some(process) = todo.pop() {
        for child in children(process) {
            if found.len() < LOOK_LIMIT && found.insert(child) {
                todo.push(child);
            }
        }
    }
    found
}

/// Children of all threads of a process. One that is gone has none.
fn children(of: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{of}/task")) else { return Vec::new() };
    let mut found = Vec::new();
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => found.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            // Not every kernel has these lists.
            Err(_) if !Path::new("/proc/thread-self/children").exists() => return children_by_search(of),
            Err(_) => {}
        }
    }
    found
}

/// Children of a process, by asking every process for its parent.
fn children_by_search(of: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |process: u32| stat_fields(process)?.split(' ').nth(1)?.parse::<u32>().ok();
    numbers.filter(|process| parent(*process) == Some(of)).collect()
}

/// What follows the name in a process's `stat`: its state, its parent and more. The name is in parentheses and may hold anything.
fn stat_fields(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned())
}

pub(super) fn usage(of: u32) -> Usage {
    let mut usage = Usage::default();
    for process in descendants(of) {
        let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else { continue };
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        usage.tasks += number("Threads:");
        usage.memory_bytes += (number("RssAnon:") + number("RssShmem:")) * KIB;
    }
    usage
}

/// Ends all processes below one; `group`: a process group of theirs, which the kernel ends in one go. What forks while it is
/// ended is stopped first, so that nothing makes new ones faster than they are found. Answers whether none is left that has
/// not ended, and how many there were besides the group's leader.
///
/// A process in the kernel's uninterruptible sleep ends when that does; after about two seconds it is not waited for.
pub fn end_tree(of: u32, group: Option<u32>) -> (bool, usize) {
    if let Some(group) = group.and_then(pid) {
        // That it is gone already is as good.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let mut stopped = BTreeSet::new();
    for _ in 0..STOP_ROUNDS {
        let fresh: Vec<u32> = living(of).difference(&stopped).copied().collect();
        if fresh.is_empty() {
            break;
        }
        fresh.iter().for_each(|process| signal(*process, Signal::STOP));
        stopped.extend(fresh);
    }
    let others = stopped.iter().filter(|process| Some(**process) != group).count();
    for _ in 0..END_ROUNDS {
        let left = living(of);
        if left.is_empty() {
            return (true, others);
        }
        left.iter().for_each(|process| signal(*process, Signal::KILL));
        std::thread::sleep(END_REST);
    }
    (false, others)
}

/// Descendants that have not ended: those that only wait to be asked for their status are left out.
fn living(of: u32) -> BTreeSet<u32> {
    let mut found = descendants(of);
    found.retain(|process| stat_fields(*process).is_some_and(|fields| !fields.starts_with(['Z', 'X'])));
    found
}

fn signal(process: u32, signal: Signal) {
    if let Some(process) = pid(process) {
        // It may be gone by now.
        let _ = kill_process(process, signal);
    }
}

pub(super) fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Asks children that have ended for their status. Answers that of one of them, if it was among them.
pub(super) fn reap(wanted: u32) -> Option<i32> {
    let mut found = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((process, status))) => {
                if process.as_raw_pid().unsigned_abs() == wanted {
                    let signal = status.terminating_signal().map(|number| 128 + number);
                    found = status.exit_status().or(signal).or(found);
                }
            }
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return found,
        }
    }
}

/// Asks children that have ended for their status, but for one, whose number must stay its own for as long as it is used.
pub(super) fn reap_others(of: u32, kept: u32) {
    for process in children(of).into_iter().filter(|process| *process != kept).filter_map(pid) {
        // One that runs is asked again at the next look.
        let _ = waitpid(Some(process), WaitOptions::NOHANG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_with_and_without_the_kernels_lists() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        assert!(children(own).contains(&child.id()));
        assert!(children_by_search(own).contains(&child.id()));
        assert!(usage(own).tasks >= 1);
        child.kill().expect("it can be ended");
        child.wait().expect("it has ended");
        assert!(!children(own).contains(&child.id()));
    }
}
