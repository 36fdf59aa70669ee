//! The live properties: those the door computes.

use std::fmt::Write;

use shoal_ledger::{Lock, LockScope, Node, PropertyName, VolumeRecord};
use shoal_volume::Space;

use crate::context::{etag, is_folder};
use crate::href::href_of;
use crate::media_type;
use crate::times::{http_date, rfc3339};
use dci_proto::xml::{DAV, escape};

/// ownCloud's namespace, for checksums.
pub(crate) const OWNCLOUD: &str = "http://owncloud.org/ns";
/// The namespace of Windows' file times and attributes.
pub(crate) const WINDOWS: &str = "urn:schemas-microsoft-com:";

/// A live property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    CreationDate,
    DisplayName,
    ContentLength,
    ContentType,
    Etag,
    LastModified,
    ResourceType,
    SupportedLock,
    LockDiscovery,
    QuotaAvailable,
    QuotaUsed,
    Checksums,
    WindowsCreation,
    WindowsModified,
}

/// Every live property.
const ALL: [Live; 14] = [
    Live::ResourceType,
    Live::DisplayName,
    Live::CreationDate,
    Live::LastModified,
    Live::ContentLength,
    Live::ContentType,
    Live::Etag,
    Live::SupportedLock,
    Live::LockDiscovery,
    Live::QuotaAvailable,
    Live::QuotaUsed,
    Live::Checksums,
    Live::WindowsCreation,
    Live::WindowsModified,
];

/// What a property is asked of.
pub(crate) struct Subject<'a> {
    /// The name people see.
    pub(crate) name: &'a str,
    /// What the ledger says of it; nothing of the list of volumes.
    pub(crate) node: Option<&'a Node>,
    /// Locks that cover it.
    pub(crate) locks: &'a [&'a Lock],
    /// The room where it is; `None` when the client must not be told.
    pub(crate) space: Option<Space>,
    pub(crate) volumes: &'a [VolumeRecord],
    /// Nothing can be changed or locked there.
    pub(crate) read_only: bool,
}

impl Live {
    /// Those a plain `allprop` answers (RFC 4918 §9.1, RFC 4331 §2): the computed ones of other namespaces and quotas
    /// only when asked for by name.
    pub(crate) fn of_allprop() -> &'static [Self] {
        &ALL[..9]
    }

    pub(crate) fn all() -> &'static [Self] {
        &ALL
    }

    pub(crate) fn named(name: &PropertyName) -> Option<Self> {
        ALL.into_iter().find(|live| live.namespace() == name.namespace && live.local_name() == name.name)
    }

    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Checksums => OWNCLOUD,
            Self::WindowsCreation | Self::WindowsModified => WINDOWS,
            _ => DAV,
        }
    }

    pub(crate) fn local_name(self) -> &'static str {
        match self {
            Self::CreationDate => "creationdate",
            Self::DisplayName => "displayname",
            Self::ContentLength => "getcontentlength",
            Self::ContentType => "getcontenttype",
            Self::Etag => "getetag",
            Self::LastModified => "getlastmodified",
            Self::ResourceType => "resourcetype",
            Self::SupportedLock => "supportedlock",
            Self::LockDiscovery => "lockdiscovery",
            Self::QuotaAvailable => "quota-available-bytes",
            Self::QuotaUsed => "quota-used-bytes",
            Self::Checksums => "checksums",
            Self::WindowsCreation => "Win32CreationTime",
            Self::WindowsModified => "Win32LastModifiedTime",
        }
    }

    /// Appends the property with its value; false, and nothing appended, if the subject does not have it.
    pub(crate) fn write(self, out: &mut String, subject: &Subject<'_>) -> bool {
        let before = out.len();
        self.open(out);
        if self.write_value(out, subject).is_none() {
            out.truncate(before);
            return false;
        }
        self.close(out);
        true
    }

    fn open(self, out: &mut String) {
        out.push('<');
        out.push_str(self.prefix());
        out.push_str(self.local_name());
        out.push('>');
    }

    fn close(self, out: &mut String) {
        out.push_str("</");
        out.push_str(self.prefix());
        out.push_str(self.local_name());
        out.push('>');
    }

    /// The prefixes the root of every multistatus declares.
    fn prefix(self) -> &'static str {
        match self {
            Self::Checksums => "oc:",
            Self::WindowsCreation | Self::WindowsModified => "Z:",
            _ => "D:",
        }
    }

    fn write_value(self, out: &mut String, subject: &Subject<'_>) -> Option<()> {
        let node = subject.node;
        let file = || node.filter(|node| !is_folder(node));
        match self {
            Self::CreationDate => out.push_str(&rfc3339(node?.created_ms)),
            Self::DisplayName => escape(out, subject.name),
            Self::ContentLength => write!(out, "{}", file()?.size_bytes).ok()?,
            Self::ContentType => escape(out, &media_type::of(file()?)),
            Self::Etag => out.push_str(&etag(file()?)?),
            Self::LastModified | Self::WindowsModified => out.push_str(&http_date(node?.modified_ms)),
            Self::WindowsCreation => out.push_str(&http_date(node?.created_ms)),
            Self::ResourceType if node.is_none_or(is_folder) => out.push_str("<D:collection/>"),
            Self::ResourceType => {}
            Self::SupportedLock => {
                node?;
                if !subject.read_only {
                    out.push_str(SUPPORTED_LOCKS);
                }
            }
            Self::LockDiscovery => {
                node?;
                subject.locks.iter().for_each(|lock| write_lock(out, lock, subject.volumes));
            }
            Self::QuotaAvailable => write!(out, "{}", subject.space?.free_bytes).ok()?,
            Self::QuotaUsed => write!(out, "{}", subject.space?.used_bytes).ok()?,
            Self::Checksums => {
                out.push_str("<oc:checksum>SHA1:");
                file()?.sha1?.iter().try_for_each(|byte| write!(out, "{byte:02x}")).ok()?;
                out.push_str("</oc:checksum>");
            }
        }
        Some(())
    }
}

const SUPPORTED_LOCKS: &str = "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>\
                               </D:lockentry><D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/>\
                               </D:locktype></D:lockentry>";

/// Appends a lock as `activelock`.
pub(crate) fn write_lock(out: &mut String, lock: &Lock, volumes: &[VolumeRecord]) {
    let scope = match lock.scope {
        LockScope::Exclusive => "exclusive",
        LockScope::Shared => "shared",
    };
    out.push_str("<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:");
    out.push_str(scope);
    out.push_str("/></D:lockscope><D:depth>");
    out.push_str(if lock.deep { "infinity" } else { "0" });
    out.push_str("</D:depth>");
    out.push_str(&String::from_utf8_lossy(&lock.owner_xml));
    out.push_str("<D:timeout>Second-");
    out.push_str(&lock.timeout_s.to_string());
    out.push_str("</D:timeout><D:locktoken><D:href>");
    escape(out, &lock.token);
    out.push_str("</D:href></D:locktoken><D:lockroot><D:href>");
    escape(out, &href_of(volumes, &lock.path, false));
    out.push_str("</D:href></D:lockroot></D:activelock>");
}

/// Whether a client must not be told quotas. WebDAVFS of macOS 15.4 (Darwin 24.4) and later waits 90 seconds for
/// nothing when it is told: cryptomator/webdav-nio-adapter#107, 9001/copyparty#1242 (there still in macOS 26.2).
pub(crate) fn hangs_on_quota(user_agent: &str) -> bool {
    let Some((_, darwin)) = user_agent.split_once("WebDAVFS/").and_then(|(_, rest)| rest.split_once("Darwin/")) else {
        return false;
    };
    let mut numbers =
        darwin.split(|character: char| !character.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (24, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_kept_from_the_macs_that_hang_on_them() {
        let of = |version| hangs_on_quota(&format!("WebDAVFS/3.0.0 (03008000) Darwin/{version} (arm64)"));
        assert!(of("24.4.0") && of("25.2.0"));
        assert!(!of("24.3.0") && !of("23.6.0"));
        assert!(!hangs_on_quota("Cyberduck/9 (Mac OS X/15.4)"));
    }
}
