//! Networks as people write them: an address and how many of its bits all addresses of the network share.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subnet {
    /// The first address of it.
    first: IpAddr,
    prefix_bits: u8,
}

fn width_bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of the same kind as `like` with a number that kind has.
fn address(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

impl Subnet {
    /// The network an address lies in; `None` for more bits than it has.
    pub(crate) fn of(inside: IpAddr, prefix_bits: u8) -> Option<Self> {
        let host_bits = width_bits(inside).checked_sub(prefix_bits)?;
        let kept = u128::MAX.checked_shl(host_bits.into()).unwrap_or(0);
        Some(Self { first: address(inside, number(inside) & kept), prefix_bits })
    }

    fn host_bits(&self) -> u8 {
        width_bits(self.first) - self.prefix_bits
    }

    /// How many addresses it has; `None` for all there are of IPv6.
    pub(crate) fn size(&self) -> Option<u128> {
        1u128.checked_shl(self.host_bits().into())
    }

    fn last(&self) -> u128 {
        number(self.first) | 1u128.checked_shl(self.host_bits().into()).map_or(u128::MAX, |size| size - 1)
    }

    /// Whether an address is of it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        Self::of(address, self.prefix_bits).is_some_and(|of| of == *self)
    }

    /// Whether all of another network is of it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.prefix_bits >= self.prefix_bits && self.contains(other.first)
    }

    /// Whether an address of it is no host's: its own first and last of IPv4, where it has more than two.
    pub(crate) fn names_no_host(&self, address: IpAddr) -> bool {
        let number = number(address);
        self.first.is_ipv4()
            && self.host_bits() > 1
            && self.contains(address)
            && (number == self.last() || address == self.first)
    }

    /// Its addresses in their order, the first `limit` of them.
    pub(crate) fn addresses(&self, limit: usize) -> impl Iterator<Item = IpAddr> + use<> {
        let (first, last) = (self.first, self.last());
        (number(first)..=last).take(limit).map(move |number| address(first, number))
    }

    /// Whether it is this machine's own loopback.
    pub(crate) fn is_loopback(&self) -> bool {
        self.first.is_loopback() || (self.prefix_bits == 8 && self.contains(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subnet(address: &str, prefix_bits: u8) -> Subnet {
        Subnet::of(address.parse().expect("an address"), prefix_bits).expect("a network")
    }

    #[test]
    fn a_network_has_the_addresses_that_share_its_bits() {
        let lan = subnet("10.0.0.77", 24);
        assert_eq!(lan.to_string(), "10.0.0.0/24");
        assert_eq!(lan.size(), Some(256));
        let check =
            |address: &str, inside| assert_eq!(lan.contains(address.parse().expect("address")), inside, "{address}");
        check("10.0.0.0", true);
        check("10.0.0.255", true);
        check("10.0.1.0", false);
        check("::ffff:10.0.0.1", false);
        assert_eq!(subnet("10.0.0.1", 32).addresses(9).collect::<Vec<_>>(), [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(subnet("::", 0).size(), None);
        assert_eq!(subnet("0.0.0.0", 0).size(), Some(1 << 32));
    }

    #[test]
    fn the_first_and_the_last_of_a_network_are_no_hosts() {
        let check = |network: Subnet, address: &str, none| {
            assert_eq!(network.names_no_host(address.parse().expect("address")), none, "{network} {address}");
        };
        check(subnet("10.0.0.0", 24), "10.0.0.0", true);
        check(subnet("10.0.0.0", 24), "10.0.0.255", true);
        check(subnet("10.0.0.0", 24), "10.0.0.1", false);
        check(subnet("10.0.0.0", 16), "10.0.1.0", false);
        check(subnet("10.0.0.0", 31), "10.0.0.0", false);
        check(subnet("fd00::", 64), "fd00::", false);
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
            any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()))
        ]
    }

    proptest! {
        #[test]
        fn what_is_listed_is_contained(inside in any_address(), prefix_bits in 0u8..=128, limit in 0usize..300) {
            let Some(network) = Subnet::of(inside, prefix_bits) else {
                prop_assert!(prefix_bits > 32 && inside.is_ipv4());
                return Ok(());
            };
            prop_assert!(network.contains(inside) && network.covers(&network));
            let listed: Vec<IpAddr> = network.addresses(limit).collect();
            let expected = network.size().and_then(|size| usize::try_from(size).ok()).map_or(limit, |size| size.min(limit));
            prop_assert_eq!(listed.len(), expected);
            prop_assert!(listed.iter().all(|address| network.contains(*address)));
            prop_assert!(listed.windows(2).all(|pair| pair[0] < pair[1]));
        }

        #[test]
        fn a_network_covers_the_narrower_ones_of_its_addresses(inside in any_address(), wide in 0u8..=32, narrow in 0u8..=32) {
            let (wide, narrow) = (Subnet::of(inside, wide.min(narrow)), Subnet::of(inside, wide.max(narrow)));
            let (wide, narrow) = (wide.expect("a network"), narrow.expect("a network"));
            prop_assert!(wide.covers(&narrow));
            prop_assert_eq!(narrow.covers(&wide), wide == narrow);
        }
    }
}
