//! Which addresses are asked, in which order: those of the machine's own networks only, unless told otherwise.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::{Subnet, Target};

/// Addresses asked by one command, at most: a range of 20 bits, or sixteen networks of 254 hosts.
pub(crate) const ADDRESSES_LIMIT: usize = 4096;

/// Where one may ask.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The networks this machine is in.
    pub(crate) own: Vec<Subnet>,
    /// Whether others may be asked too.
    pub(crate) anywhere: bool,
}

/// The addresses to ask, each once, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    addresses: Vec<SocketAddr>,
}

/// Why nothing is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    /// Not in a network of this machine's.
    #[error("{what} is not in this machine's own networks ({own}); other people's are asked only with --anywhere")]
    Elsewhere {
        /// What was to be asked.
        what: String,
        /// The networks this machine is in.
        own: String,
    },
    /// More than [`ADDRESSES_LIMIT`].
    #[error(
        "{0}: at most {ADDRESSES_LIMIT} addresses are asked at a time (a /20 of IPv4, a /116 of IPv6); ask for a part of it"
    )]
    TooMany(String),
}

impl Places {
    fn check(&self, what: &str, mine: impl Fn(&Subnet) -> bool) -> Result<(), PlanError> {
        if self.anywhere || self.own.iter().any(mine) {
            return Ok(());
        }
        let own: BTreeSet<String> =
            self.own.iter().filter(|network| !network.is_loopback()).map(ToString::to_string).collect();
        let own = if own.is_empty() { "it is in none".to_owned() } else { Vec::from_iter(own).join(", ") };
        Err(PlanError::Elsewhere { what: what.to_owned(), own })
    }
}

impl Plan {
    /// The addresses of all targets, single ones first, then those of the ranges in turn, so that no network is asked all
    /// at once where there are several. Names have been looked up: [`Target::Name`] asks nobody.
    pub(crate) fn new(targets: &[Target], usual_port: u16, places: &Places) -> Result<Self, PlanError> {
        let mut plan = Collected::default();
        let mut ranges = Vec::new();
        for target in targets {
            match target {
                Target::Address(address, port) => {
                    places.check(&address.to_string(), |network| network.contains(*address))?;
                    plan.add(SocketAddr::new(*address, port.unwrap_or(usual_port)))?;
                }
                Target::Range(range) => {
                    places.check(&range.to_string(), |network| network.covers(range))?;
                    if range.size().is_none_or(|size| size > ADDRESSES_LIMIT as u128) {
                        return Err(PlanError::TooMany(range.to_string()));
                    }
                    ranges.push(range.addresses(ADDRESSES_LIMIT));
                }
                Target::Name(..) => {}
            }
        }
        let host = |address: &IpAddr| !places.own.iter().any(|network| network.names_no_host(*address));
        while !ranges.is_empty() {
            let mut round = Vec::new();
            ranges.retain_mut(|range| range.next().map(|address| round.push(address)).is_some());
            for address in round.into_iter().filter(host) {
                plan.add(SocketAddr::new(address, usual_port))?;
            }
        }
        Ok(Self { addresses: plan.addresses })
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

#[derive(Default)]
struct Collected {
    addresses: Vec<SocketAddr>,
    known: BTreeSet<SocketAddr>,
}

impl Collected {
    fn add(&mut self, address: SocketAddr) -> Result<(), PlanError> {
        if self.known.insert(address) {
            if self.addresses.len() >= ADDRESSES_LIMIT {
                return Err(PlanError::TooMany("all that is to be asked".to_owned()));
            }
            self.addresses.push(address);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PORT: u16 = 4921;

    fn targets(texts: &[&str]) -> Vec<Target> {
        texts.iter().map(|text| text.parse().expect("a target")).collect()
    }

    fn places(own: &[&str], anywhere: bool) -> Places {
        let own = targets(own).into_iter().filter_map(|target| match target {
            Target::Range(network) => Some(network),
            _ => None,
        });
        Places { own: own.collect(), anywhere }
    }

    fn planned(texts: &[&str]) -> Vec<String> {
        let own = places(&["10.0.0.0/24", "10.1.0.0/16", "127.0.0.0/8", "fd00::/64"], false);
        let plan = Plan::new(&targets(texts), PORT, &own).expect("a plan");
        plan.addresses().iter().map(ToString::to_string).collect()
    }

    fn refused(texts: &[&str], own: &[&str]) -> String {
        Plan::new(&targets(texts), PORT, &places(own, false)).expect_err("refused").to_string()
    }

    #[test]
    fn each_address_is_asked_once_single_ones_first_and_ranges_in_turn() {
        assert_eq!(
            planned(&["10.0.0.4/31", "10.1.7.0/31", "10.0.0.5", "10.0.0.9:77", "fd00::5"]),
            ["10.0.0.5:4921", "10.0.0.9:77", "[fd00::5]:4921", "10.0.0.4:4921", "10.1.7.0:4921", "10.1.7.1:4921"]
        );
    }

    #[test]
    fn a_network_of_ones_own_is_254_hosts() {
        let asked = planned(&["10.0.0.0/24"]);
        assert_eq!((asked.len(), asked[0].as_str(), asked[253].as_str()), (254, "10.0.0.1:4921", "10.0.0.254:4921"));
    }

    #[test]
    fn other_networks_are_refused_and_ones_own_named() {
        let own = ["10.0.0.0/24", "127.0.0.0/8", "192.168.7.0/24"];
        for elsewhere in ["10.77.0.0/24", "10.0.0.0/16", "8.8.8.8", "fd00::1"] {
            let said = refused(&[elsewhere], &own);
            assert!(said.starts_with(elsewhere) && said.contains("(10.0.0.0/24, 192.168.7.0/24)"), "{said}");
            assert!(said.contains("--anywhere"), "{said}");
        }
        assert!(refused(&["10.0.0.1"], &["127.0.0.0/8"]).contains("(it is in none)"));
        let anywhere = places(&own, true);
        assert_eq!(Plan::new(&targets(&["10.77.0.0/24"]), PORT, &anywhere).expect("a plan").addresses().len(), 256);
    }

    #[test]
    fn more_than_a_20_bit_range_is_refused() {
        let own = ["10.0.0.0/8", "fd00::/64"];
        for range in ["10.0.0.0/19", "10.0.0.0/8", "fd00::/64"] {
            assert!(refused(&[range], &own).contains("at most 4096 addresses"), "{range}");
        }
        assert!(refused(&["10.0.0.0/20", "10.9.0.0/24"], &own).contains("all that is to be asked"));
        assert_eq!(
            Plan::new(&targets(&["10.3.0.0/20"]), PORT, &places(&own, false)).expect("a plan").addresses().len(),
            4096
        );
    }

    proptest! {
        #[test]
        fn nothing_outside_ones_own_networks_is_ever_asked(
            bits in proptest::collection::vec((0u32..8, 22u8..=32), 1..5), own in proptest::collection::vec((0u32..8, 22u8..=30), 0..4),
        ) {
            let network = |(number, prefix_bits): (u32, u8)| Subnet::of(IpAddr::V4((0x0A00_0000 | number << 8).into()), prefix_bits);
            let own: Vec<Subnet> = own.into_iter().filter_map(network).collect();
            let targets: Vec<Target> = bits.into_iter().filter_map(network).map(Target::Range).collect();
            match Plan::new(&targets, PORT, &Places { own: own.clone(), anywhere: false }) {
                Ok(plan) => {
                    let known: BTreeSet<_> = plan.addresses().iter().collect();
                    prop_assert_eq!(known.len(), plan.addresses().len());
                    prop_assert!(plan.addresses().iter().all(|one| own.iter().any(|network| network.contains(one.ip()))));
                }
                Err(error) => prop_assert!(matches!(error, PlanError::Elsewhere { .. }), "{}", error),
            }
        }
    }
}
