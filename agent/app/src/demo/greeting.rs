//! What a demo says when it is up.

use std::fmt::Write as _;
use std::path::Path;

use super::DemoFile;

/// What runs, where, who may use it, how to map it, what it survives.
pub(super) fn greeting(file: &DemoFile<'_>, verdict: &str, json: &Path) -> String {
    let mut text = String::new();
    let page = file.agents.first().map(|agent| agent.api.as_str()).unwrap_or_default();
    let url = &file.dav;
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let (user, password) = (file.user, file.password);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n{verdict}\n\n\
         {count} agents run on this computer as one pool.\n\n  \
           Drive     {url}\n  \
           User      {user}\n  \
           Password  {password}\n  \
           Page      {page}\n\n\
         Map the drive:\n  \
           Windows      net use S: {url} /user:{user} {password}\n               \
                        (sign-in over http needs BasicAuthLevel 2 for the WebClient service)\n  \
           macOS        Finder, Go, Connect to Server: {url}\n  \
           GNOME, KDE   dav://{user}@{host}/   (KDE: webdav://…)\n  \
           davfs2       sudo mount -t davfs {url} /mnt\n  \
           rclone       rclone lsf --webdav-url {url} --webdav-user {user} --webdav-pass $(rclone obscure {password}) :webdav:\n\n\
         Every agent serves the same files:\n",
        count = file.agents.len(),
    );
    for agent in &file.agents {
        let _ = writeln!(text, "  {:<9} pid {:<7} {}", agent.name, agent.pid, agent.dav);
    }
    if let Some(first) = file.agents.first() {
        let _ = write!(text, "\nAsk how they do: shoal status --data {}\n", first.data.display());
    }
    if let Some(last) = file.agents.last() {
        let _ = write!(
            text,
            "An agent that you start again by hand takes its name as {variable} too, such as {variable}={name}: else all \
             count as\none computer, and none holds a copy of another's backup.\n",
            variable = crate::config::MACHINE_VARIABLE,
            name = last.name,
        );
    }
    let _ = write!(
        text,
        "\nTry `kill -9` on any two of them: the drive goes on. All of this is in {}.\nCtrl-C ends it; the same command \
         goes on with the data.\n",
        json.display()
    );
    text
}
