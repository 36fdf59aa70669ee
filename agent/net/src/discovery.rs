//! Discovery on the local network by mDNS (RFC 6762, RFC 6763): agents announce themselves and the pool they are in,
//! and find each other unasked. What is found is a hint and nothing more: identity is proved when it is dialled.
//!
//! Announcing listens on all interfaces and follows them as they come and go, loopback included, so that it works
//! between network namespaces, on several interfaces, and on a machine without any network.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dci_proto::{AgentId, PoolId};
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::time::{Instant, timeout_at};

/// What agents announce themselves as.
const SERVICE: &str = "_shoal._tcp.local.";
/// Bytes of a name that are announced; a property has room for 255 in all.
const NAME_LIMIT_BYTES: usize = 120;
/// Agents that are reported by one look round, at most.
const FOUND_LIMIT: usize = 1024;
/// Addresses taken of one agent, at most.
const ADDRESSES_LIMIT: usize = 16;
/// How often interfaces are looked at for changes.
const INTERFACE_CHECK_S: u32 = 60;

/// What an agent tells the local network of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Who.
    pub agent: AgentId,
    /// Its name, for people.
    pub name: String,
    /// The pool it is in; `None` while it is in none.
    pub pool_id: Option<PoolId>,
    /// The pool's name, for people.
    pub pool_name: String,
    /// The port of its control network.
    pub control_port: u16,
    /// The port of its data channel, which also takes those who want to join.
    pub data_port: u16,
    /// Its version.
    pub version: String,
}

/// An agent that was found. Unproved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it says of itself.
    pub announcement: Announcement,
    /// Where its control network is said to listen.
    pub control_addresses: Vec<SocketAddr>,
    /// Where its data channel is said to listen.
    pub data_addresses: Vec<SocketAddr>,
}

/// Why discovery does not work here.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {what} on the local network: {reason}")]
pub struct DiscoveryError {
    what: &'static str,
    reason: String,
}

impl DiscoveryError {
    fn new(what: &'static str) -> impl Fn(mdns_sd::Error) -> Self {
        move |error| Self { what, reason: error.to_string() }
    }
}

/// Announces an agent until dropped.
pub struct Announcer {
    daemon: ServiceDaemon,
    fullname: String,
}

impl std::fmt::Debug for Announcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announcer").field("fullname", &self.fullname).finish_non_exhaustive()
    }
}

impl Announcer {
    /// Starts announcing. Where there is no network, it begins when there is one.
    pub fn start(announcement: &Announcement) -> Result<Self, DiscoveryError> {
        let failed = DiscoveryError::new("announce this agent");
        let daemon = ServiceDaemon::new().map_err(&failed)?;
        let service = service(announcement).map_err(&failed)?;
        let fullname = service.get_fullname().to_owned();
        let announcer = Self { daemon, fullname };
        announcer.daemon.set_ip_check_interval(INTERFACE_CHECK_S).map_err(&failed)?;
        announcer.daemon.register(service).map_err(&failed)?;
        Ok(announcer)
    }

    /// Replaces what is announced, for instance once the agent is in a pool.
    pub fn update(&self, announcement: &Announcement) -> Result<(), DiscoveryError> {
        let failed = DiscoveryError::new("announce this agent");
        let service = service(announcement).map_err(&failed)?;
        self.daemon.register(service).map_err(&failed)
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        // Both only queue a word for the daemon's thread; without it there is nobody to take back anything.
        let _ = self.daemon.unregister(&self.fullname);
        let _ = self.daemon.shutdown();
    }
}

fn short(name: &str) -> &str {
    let mut end = name.len().min(NAME_LIMIT_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

fn service(announcement: &Announcement) -> Result<ServiceInfo, mdns_sd::Error> {
    let agent = announcement.agent.to_string();
    let pool_id = announcement.pool_id.map(|pool| pool.to_string()).unwrap_or_default();
    let (control, data) = (announcement.control_port.to_string(), announcement.data_port.to_string());
    let properties = [
        ("agent", agent.as_str()),
        ("name", short(&announcement.name)),
        ("pool", &pool_id),
        ("poolname", short(&announcement.pool_name)),
        ("control", &control),
        ("data", &data),
        ("version", short(&announcement.version)),
    ];
    // A label has room for 63 bytes, an agent's id has 52 characters.
    let host = format!("{agent}.local.");
    let service = ServiceInfo::new(SERVICE, &agent, &host, "", announcement.data_port, &properties[..])?;
    Ok(service.enable_addr_auto())
}

/// Looks round for a while and returns who was found. Nobody is an answer, not an error.
pub async fn browse(duration: Duration) -> Result<Vec<Found>, DiscoveryError> {
    let failed = DiscoveryError::new("look for agents");
    let daemon = ServiceDaemon::new().map_err(&failed)?;
    let events = daemon.browse(SERVICE).map_err(&failed)?;
    let deadline = Instant::now() + duration;
    let mut found = BTreeMap::new();
    while let Ok(Ok(event)) = timeout_at(deadline, events.recv_async()).await {
        match event {
            ServiceEvent::ServiceResolved(service) if found.len() < FOUND_LIMIT => {
                if let Some(agent) = read(&service) {
                    found.insert(service.get_fullname().to_owned(), agent);
                }
            }
            ServiceEvent::ServiceRemoved(_, fullname) => drop(found.remove(&fullname)),
            _ => {}
        }
    }
    // The answer is here; the daemon's thread ends by itself.
    let _ = daemon.shutdown();
    Ok(found.into_values().collect())
}

/// Reads what somebody announced; `None` when it is none of ours.
fn read(service: &ResolvedService) -> Option<Found> {
    let text = |key: &str| service.get_property_val_str(key).unwrap_or_default();
    let port = |key: &str| text(key).parse::<u16>().ok().filter(|port| *port != 0);
    let pool_id = match text("pool") {
        "" => None,
        pool => Some(pool.parse().ok()?),
    };
    let announcement = Announcement {
        agent: text("agent").parse().ok()?,
        name: name_shown(text("name")),
        pool_id,
        pool_name: name_shown(text("poolname")),
        control_port: port("control")?,
        data_port: port("data")?,
        version: name_shown(text("version")),
    };
    let addresses = sorted(service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr));
    let at = |port| addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
    let (control_addresses, data_addresses) = (at(announcement.control_port), at(announcement.data_port));
    Some(Found { announcement, control_addresses, data_addresses })
}

/// A name as it is shown: names come from strangers and end up on terminals.
#[must_use]
pub fn name_shown(name: &str) -> String {
    short(name).chars().filter(|character| !character.is_control()).collect()
}

fn sorted(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let local = |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let mut addresses: Vec<IpAddr> = addresses.filter(|address| !local(address)).collect();
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6(), *address));
    addresses.truncate(ADDRESSES_LIMIT);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement() -> Announcement {
        Announcement {
            agent: crate::agent_id_of_seed(&[3; 32]).expect("a seed"),
            name: "Küche".to_owned(),
            pool_id: None,
            pool_name: "home".to_owned(),
            control_port: 4001,
            data_port: 4002,
            version: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn what_is_announced_is_what_is_read() {
        let resolved = service(&announcement()).expect("a service").as_resolved_service();
        assert_eq!(read(&resolved).expect("ours").announcement, announcement());
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let long = Announcement { name: "ü".repeat(200), ..announcement() };
        let resolved = service(&long).expect("a service").as_resolved_service();
        assert_eq!(read(&resolved).expect("ours").announcement.name, "ü".repeat(NAME_LIMIT_BYTES / 2));
    }

    #[test]
    fn an_announcement_that_is_none_of_ours_is_passed_over() {
        let other = ServiceInfo::new(SERVICE, "printer", "printer.local.", "10.0.0.9", 631, &[("agent", "x")][..]);
        assert_eq!(read(&other.expect("a service").as_resolved_service()), None);
    }

    #[test]
    fn names_of_strangers_cannot_steer_a_terminal() {
        assert_eq!(name_shown("a\u{1b}[2Jb\n"), "a[2Jb");
    }
}
