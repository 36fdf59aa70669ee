//! Under which addresses others reach this agent.

use std::net::{IpAddr, SocketAddr};

use crate::config::AgentConfig;

/// Addresses told to others, at most.
const ADDRESSES_LIMIT: usize = 16;

/// Addresses told to others for one listener: those found, or those the admin gave for where a router stands between.
pub(crate) fn advertised(config: &AgentConfig, found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(port) = found.first().map(SocketAddr::port) else { return found };
    if config.advertise.is_empty() {
        return found.into_iter().take(ADDRESSES_LIMIT).collect();
    }
    config.advertise.iter().take(ADDRESSES_LIMIT).map(|ip| SocketAddr::new(*ip, port)).collect()
}

/// Names and addresses that a certificate this agent makes for itself holds for.
pub(crate) fn certificate_names(config: &AgentConfig) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if !host.is_empty() && host.is_ascii() {
        names.push(host);
    }
    let cards = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = cards.iter().map(if_addrs::Interface::ip).chain(config.advertise.iter().copied());
    names.extend(addresses.filter(|ip| !is_link_local(*ip)).map(|ip| ip.to_string()));
    names.dedup();
    names
}

/// Link-local addresses mean nothing without the card they belong to.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_has_the_last_word_on_addresses() {
        let mut config = AgentConfig::new("/nowhere");
        let own: SocketAddr = "192.0.2.7:4920".parse().expect("address");
        assert_eq!(advertised(&config, vec![own]), [own]);
        config.advertise = vec!["203.0.113.9".parse().expect("address")];
        assert_eq!(advertised(&config, vec![own]), ["203.0.113.9:4920".parse::<SocketAddr>().expect("address")]);
    }
}
