//! Whose an address is, as far as it tells.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What one client may well have all of: an IPv4 address, or 64 bits of an IPv6 one.
pub(super) fn client(peer: IpAddr) -> IpAddr {
    network(peer, 32, 64)
}

/// What one network may well have all of, from the widest on.
pub(super) fn networks(peer: IpAddr) -> [IpAddr; 2] {
    [network(peer, 16, 32), network(peer, 24, 48)]
}

/// The first so many bits.
fn network(peer: IpAddr, of_v4: u32, of_v6: u32) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & !(u32::MAX.unbounded_shr(of_v4))).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX.unbounded_shr(of_v6))).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_to_their_networks() {
        for (peer, one, wider) in [
            ("10.1.2.3", "10.1.2.3", ["10.1.0.0", "10.1.2.0"]),
            ("::ffff:10.1.2.3", "10.1.2.3", ["10.1.0.0", "10.1.2.0"]),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::", ["2001:db8::", "2001:db8:1::"]),
        ] {
            let parsed = |text: &str| text.parse::<IpAddr>().unwrap();
            assert_eq!((client(parsed(peer)), networks(parsed(peer))), (parsed(one), wider.map(parsed)));
        }
    }
}
