//! What a program must not get from its agent: environment, descriptors, privileges, files, connections, signals.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::{Rig, all, is_handled, until};
use shoal_peerlets::core::Verdict;
use shoal_peerlets::launcher::Protection;

fn sh(script: &str) -> String {
    format!("command = [\"sh\", \"-c\", {script:?}]\nmode = \"oneshot\"\n")
}

async fn said(rig: &Rig, text: &str) -> String {
    let (replies, verdict) = rig.ask(text).await;
    assert!(matches!(verdict, Verdict::Handled { .. }), "{verdict:?}");
    replies.concat()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn the_environment_is_only_what_is_made_for_it() {
    let manifest = "command = [\"env\"]\nmode = \"oneshot\"\n[environment]\nMINE = \"{folder}/x\"\n";
    let rig = Rig::of(manifest, &[]).await;
    let environment = said(&rig, "go").await;
    let mut names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    let wanted = [
        "HOME",
        "LANG",
        "MINE",
        "PATH",
        "SHOAL_FOLDER",
        "SHOAL_FROM_AGENT",
        "SHOAL_FROM_USER",
        "SHOAL_MESSAGE",
        "SHOAL_SENT",
        "SHOAL_TYPE",
        "TMPDIR",
    ];
    assert_eq!(names, wanted);
    assert!(environment.contains("SHOAL_FROM_USER=ana\n") && environment.contains("SHOAL_TYPE=it\n"));
    let folder = rig.folder.path().join("installed/it/x");
    assert!(environment.contains(&format!("MINE={}\n", folder.display())), "{environment}");
}

#[tokio::test]
async fn there_are_three_descriptors_even_if_the_agent_lets_others_be_inherited() {
    let leaky = std::fs::File::open("/dev/null").expect("a file");
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).expect("it is ours");
    let rig = Rig::of("command = [\"ls\", \"/proc/self/fd\"]\nmode = \"oneshot\"", &[]).await;
    // The last is the folder that ls reads.
    assert_eq!(said(&rig, "go").await, "0\n1\n2\n3\n");
    drop(leaky);
}

#[tokio::test]
async fn it_has_no_privileges_and_cannot_gain_any() {
    let rig = Rig::of("command = [\"cat\", \"/proc/self/status\"]\nmode = \"oneshot\"", &[]).await;
    let status = said(&rig, "go").await;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    assert_eq!(field("CapPrm:"), ["0000000000000000"]);
    assert_ne!(field("Uid:")[0], "0");
    if is_root() {
        assert!(field("Groups:").is_empty(), "{status}");
        assert_ne!(field("Gid:")[0], "0");
    }
}

#[tokio::test]
async fn its_limits_are_the_kernels_and_it_leads_a_session_of_its_own() {
    let script = "ulimit -c; ulimit -n; set -- $(cat /proc/$$/stat); [ $1 = $5 ] && [ $1 = $6 ] && echo leads";
    let rig = Rig::of(&sh(script), &[]).await;
    assert_eq!(said(&rig, "go").await, "0\n1024\nleads\n");
}

#[tokio::test]
async fn it_works_in_an_empty_folder_of_its_own_which_is_gone_afterwards() {
    let rig = Rig::of(&sh("pwd; echo $HOME; ls -A; echo x > file; ls"), &[]).await;
    let said = said(&rig, "go").await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[2..], ["file"]);
    until("its folder is gone", || !std::path::Path::new(lines[0]).exists()).await;
    let control = rig.folder.path().join("runtime/control");
    until("its launcher's too", || std::fs::read_dir(&control).expect("a folder").count() == 0).await;
}

#[tokio::test]
async fn it_sees_the_systems_files_and_those_its_manifest_names_and_no_others() {
    let others = common::open_folder();
    let secret = others.path().join("secret");
    std::fs::write(&secret, "secret\n").expect("a file");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o666)).expect("it is ours");
    let secret = secret.display();
    let reader = sh(&format!("cat {secret}; cat /etc/hostname >/dev/null && echo system; cat $SHOAL_FOLDER/note"));
    let writer = sh(&format!("echo more >> {secret}; echo $?; echo x > $SHOAL_FOLDER/note; echo $?"));
    let named = format!("{reader}[rights]\nread = [\"{secret}\"]\n");
    let may_write = format!("{writer}[rights]\nwrite = [\"{secret}\"]\n");
    let note: &[(&str, &str)] = &[("note", "its own\n")];
    let rig = Rig::new(&[
        ("reader", &reader, note),
        ("named", &named, note),
        ("writer", &writer, note),
        ("may-write", &may_write, note),
    ])
    .await;
    assert_eq!(rig.host.protection(), Protection::Full, "this test needs a kernel with Landlock (Linux 6.12 or newer)");
    let replies = async |kind: &str| all(rig.send(kind, "go").await).await.0.concat();
    assert_eq!(replies("reader").await, "system\nits own\n");
    assert_eq!(replies("named").await, "secret\nsystem\nits own\n");
    assert_eq!(replies("writer").await, "2\n2\n");
    assert_eq!(replies("may-write").await, "0\n2\n");
}

#[tokio::test]
async fn what_one_writes_into_a_folder_of_its_rights_another_one_reads_and_goes_on_with() {
    let others = common::open_folder();
    std::fs::set_permissions(others.path(), std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    let folder = others.path().display();
    // The first stays until the second is done: while both are there they have different users.
    let first = sh(&format!(
        "echo one > {folder}/part && mv {folder}/part {folder}/list; until [ -e {folder}/go ]; do sleep 0.01; done"
    ));
    let second = sh(&format!(
        "until [ -e {folder}/list ]; do sleep 0.01; done; echo two >> {folder}/list; cat {folder}/list; touch {folder}/go"
    ));
    let rights = format!("[rights]\nwrite = [\"{folder}\"]\n");
    let (first, second) = (first + &rights, second + &rights);
    let rig = Rig::new(&[("first", &first, &[]), ("second", &second, &[])]).await;
    let (begun, done) = (rig.send("first", "go").await, rig.send("second", "go").await);
    let (replies, verdict) = all(done).await;
    assert_eq!(replies.concat(), "one\ntwo\n", "{verdict:?}");
    assert!(matches!(all(begun).await.1, Verdict::Handled { .. }));
    let list = std::fs::metadata(others.path().join("list")).expect("it is there");
    assert_eq!(list.permissions().mode() & 0o777, 0o664, "the folder's owner reads it too");
}

#[tokio::test]
async fn it_opens_no_connections_unless_its_manifest_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let connect = format!(
        "import socket\ntry:\n    socket.create_connection(('127.0.0.1', {port}), 5)\n    print('connected')\nexcept PermissionError:\n    print('refused')\n"
    );
    let manifest = "command = [\"python3\", \"{folder}/connect.py\"]\nmode = \"oneshot\"\n";
    let may = format!("{manifest}[rights]\nnetwork = true\n");
    let files: &[(&str, &str)] = &[("connect.py", &connect)];
    let rig = Rig::new(&[("it", manifest, files), ("may", &may, files)]).await;
    assert_eq!(said(&rig, "go").await, "refused\n");
    assert_eq!(all(rig.send("may", "go").await).await.0.concat(), "connected\n");
}

#[tokio::test]
async fn it_can_end_neither_its_launcher_nor_its_agent_nor_look_into_them() {
    let agent = std::process::id();
    let script = format!(
        "kill -9 $PPID; echo $?; kill -9 {agent}; echo $?; cat /proc/{agent}/environ >/dev/null; echo $?; readlink /proc/{agent}/fd/1; echo $?"
    );
    let rig = Rig::of(&sh(&script), &[]).await;
    let said = said(&rig, "go").await;
    assert!(said.lines().all(|line| line != "0") && said.lines().count() == 4, "{said}");
}

#[tokio::test]
async fn one_session_does_not_see_what_another_works_on() {
    let script = "#!/bin/sh\necho $SHOAL_SESSION > mine\nwhile read -r line; do\n  ls .. 2>/dev/null | tr '\\n' ' '; cat ../*/mine 2>/dev/null | tr '\\n' ' '; echo\ndone\n";
    let rig = Rig::of("command = [\"./look.sh\"]\nmode = \"session\"", &[("look.sh", script)]).await;
    let (first, verdict) = all(rig.send_to("it", 1, "look").await).await;
    assert!(is_handled(&verdict, 0), "{verdict:?}");
    let (second, _) = all(rig.send_to("it", 2, "look").await).await;
    assert!(!second.concat().contains("01010101-"), "{second:?}");
    assert!(!first.concat().contains("02020202-"), "{first:?}");
}

#[test]
fn all_this_holds_for_an_agent_that_is_not_root_as_well() {
    common::again_as_another_user("all_this_holds");
}
