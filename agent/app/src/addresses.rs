//! Under which addresses others reach this agent.

use std::net::{IpAddr, SocketAddr};

use crate::config::AgentConfig;
use crate::tls::is_loopback;

/// Addresses told to others, at most.
const ADDRESSES_LIMIT: usize = 16;

/// Addresses under which a listener is reached: what it listens on, or, where that is everything, the addresses of the
/// network cards (loopback only if there is nothing else), or those the admin gave.
pub(crate) fn advertised(config: &AgentConfig, listening: SocketAddr) -> Vec<SocketAddr> {
    let with_port = |ip: IpAddr| SocketAddr::new(ip, listening.port());
    if !config.advertise.is_empty() {
        return config.advertise.iter().copied().take(ADDRESSES_LIMIT).map(with_port).collect();
    }
    if !listening.ip().is_unspecified() {
        return vec![listening];
    }
    let cards = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<IpAddr> =
        cards.iter().map(if_addrs::Interface::ip).filter(|ip| ip.is_ipv4() || listening.is_ipv6()).collect();
    addresses.retain(|ip| !is_loopback(*ip) && !is_link_local(*ip));
    if addresses.is_empty() {
        addresses.push(if listening.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    addresses.into_iter().take(ADDRESSES_LIMIT).map(with_port).collect()
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
    fn others_are_told_addresses_they_can_dial() {
        let mut config = AgentConfig::new("/nowhere");
        let own: SocketAddr = "192.0.2.7:4920".parse().expect("address");
        assert_eq!(advertised(&config, own), [own]);
        let everything = advertised(&config, "0.0.0.0:4920".parse().expect("address"));
        assert!(!everything.is_empty());
        assert!(everything.iter().all(|address| !address.ip().is_unspecified() && address.port() == 4920));
        config.advertise = vec!["203.0.113.9".parse().expect("address")];
        assert_eq!(advertised(&config, own), ["203.0.113.9:4920".parse::<SocketAddr>().expect("address")]);
    }
}
