//! Addresses: which ones others can reach a listener at, and trying several in order.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::limits::{ADDRESS_HEAD_START, ADDRESSES_TRIED};

/// Where a listener can be reached: its own address, or those of all interfaces when it listens on all. Loopback
/// comes last, and only when the machine has nothing else.
pub(crate) fn reachable(bound: SocketAddr) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let found = interfaces.iter().map(if_addrs::Interface::ip);
    let addresses = usable(found, bound.is_ipv4());
    addresses.into_iter().map(|address| SocketAddr::new(address, bound.port())).collect()
}

fn usable(found: impl Iterator<Item = IpAddr>, only_v4: bool) -> Vec<IpAddr> {
    let fits = |address: &IpAddr| match address {
        IpAddr::V4(address) => !address.is_unspecified(),
        // A link-local address needs an interface to mean anything; it cannot be passed on.
        IpAddr::V6(address) => !only_v4 && !address.is_unicast_link_local() && !address.is_unspecified(),
    };
    let mut addresses: Vec<IpAddr> = found.filter(fits).collect();
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6(), *address));
    addresses.dedup();
    if addresses.first().is_some_and(|first| !first.is_loopback()) {
        addresses.retain(|address| !address.is_loopback());
    }
    addresses
}

/// Tries addresses in order, each a little after the one before or as soon as that one failed; the first success
/// wins (after RFC 8305). The error names every address and what went wrong there.
pub(crate) async fn first_of<T, F>(addresses: Vec<SocketAddr>, attempt: impl Fn(SocketAddr) -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let mut rest = addresses.into_iter().take(ADDRESSES_TRIED);
    let mut under_way = FuturesUnordered::new();
    let mut failures = Vec::new();
    let start = |address| {
        let attempt = attempt(address);
        async move { attempt.await.map_err(|error| format!("{address}: {error}")) }
    };
    let Some(first) = rest.next() else {
        return Err("no address of it is known".to_owned());
    };
    under_way.push(start(first));
    loop {
        let failed = tokio::select! {
            Some(done) = under_way.next() => match done {
                Ok(won) => return Ok(won),
                Err(failure) => Some(failure),
            },
            () = tokio::time::sleep(ADDRESS_HEAD_START), if rest.len() > 0 => None,
        };
        failures.extend(failed);
        match rest.next() {
            Some(address) => under_way.push(start(address)),
            None if under_way.is_empty() => return Err(failures.join("; ")),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn interface_addresses_that_others_can_use_are_listed() {
        let check = |found: &[&str], only_v4, expected: &[&str]| {
            assert_eq!(usable(ips(found).into_iter(), only_v4), ips(expected), "{found:?}");
        };
        check(&["127.0.0.1", "10.0.0.2", "::1", "fe80::1"], true, &["10.0.0.2"]);
        check(&["127.0.0.1", "::1"], true, &["127.0.0.1"]);
        check(&["fd00::7", "127.0.0.1", "10.0.0.2", "fe80::1"], false, &["10.0.0.2", "fd00::7"]);
        check(&[], false, &[]);
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_never_answers_does_not_hold_up_the_next() {
        let attempt = |address: SocketAddr| async move {
            if address.port() == 1 { std::future::pending().await } else { Ok(address.port()) }
        };
        assert_eq!(first_of(vec![address(1), address(2)], attempt).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_the_error_names_each() {
        let attempt = |_| async { Err::<(), _>("refused".to_owned()) };
        let error = first_of(vec![address(1), address(2)], attempt).await.expect_err("all fail");
        assert_eq!(error, "127.0.0.1:1: refused; 127.0.0.1:2: refused");
    }
}
