//! How to map the drive on the visitor's system.

use maud::{Markup, html};

/// The systems that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    /// Windows.
    Windows,
    /// macOS.
    MacOs,
    /// Linux and anything else.
    Linux,
}

impl System {
    /// From a browser's `User-Agent`.
    #[must_use]
    pub(crate) fn of_user_agent(text: &str) -> Self {
        if text.contains("Windows") {
            Self::Windows
        } else if text.contains("Macintosh") || text.contains("Mac OS") {
            Self::MacOs
        } else {
            Self::Linux
        }
    }
}

pub(super) fn instructions(url: &str, user: &str, system: System) -> Markup {
    let bare = url.split_once("://").map_or(url, |(_, rest)| rest);
    let scheme = if url.starts_with("https") { "davs" } else { "dav" };
    html! {
        section {
            h2 { "Map this drive" }
            p { code { (url) } }
            details open[system == System::Windows] {
                summary { "Windows" }
                p { "In Explorer choose " b { "Map network drive" } " and enter the address, or type:" }
                pre { "net use S: " (url) " /user:" (user) " *" }
                @if !url.starts_with("https") {
                    p.note { "Windows signs in over http only when the WebClient service has BasicAuthLevel 2." }
                }
            }
            details open[system == System::MacOs] {
                summary { "macOS" }
                p { "In Finder choose " b { "Go › Connect to Server" } " (⌘K) and enter the address." }
            }
            details open[system == System::Linux] {
                summary { "Linux" }
                p { "GNOME Files: " b { "Other Locations" } ", enter " code { (scheme) "://" (user) "@" (bare) } }
                p { "KDE Dolphin: enter " code { (scheme.replace("dav", "webdav")) "://" (user) "@" (bare) } }
                p { "Any, with davfs2:" }
                pre { "sudo mount -t davfs " (url) " /mnt" }
                p { "Any, with rclone:" }
                pre { "rclone lsf --webdav-url " (url) " --webdav-user " (user) " --webdav-pass \"$(rclone obscure)\" :webdav:" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::System;

    #[test]
    fn browsers_tell_their_system() {
        let cases = [
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", System::Windows),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", System::MacOs),
            ("Mozilla/5.0 (X11; Linux x86_64)", System::Linux),
            ("", System::Linux),
        ];
        for (text, expected) in cases {
            assert_eq!(System::of_user_agent(text), expected, "{text}");
        }
    }
}
