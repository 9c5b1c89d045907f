//! The place from which a user logs in.

use std::net::IpAddr;

use super::Answer;

/// One entry of a rule's `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// In a logind session with a seat and without a remote host.
    Local,
    /// Everywhere else.
    Remote,
    /// This network.
    Network(Network),
}

/// An address, and the length of its prefix in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The place of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// At a seat of this host.
    Local,
    /// From elsewhere, or not known; with the remote host of PAM_RHOST if there is one.
    Remote(Option<&'a str>),
    /// Any place: the question is not about one login.
    Unknown,
}

impl Place<'_> {
    /// Whether this place is one of `from`.
    pub fn is_in(&self, from: &[From]) -> Answer {
        let answers = from.iter().map(|entry| self.is(entry));
        answers.fold(Answer::No, |so_far, next| match (so_far, next) {
            (Answer::Yes, _) | (_, Answer::Yes) => Answer::Yes,
            (Answer::Unknown, _) | (_, Answer::Unknown) => Answer::Unknown,
            _ => Answer::No,
        })
    }

    fn is(&self, from: &From) -> Answer {
        match (from, self) {
            (_, Place::Unknown) => Answer::Unknown,
            (From::Local, place) => Answer::known(matches!(place, Place::Local)),
            (From::Remote, place) => Answer::known(matches!(place, Place::Remote(_))),
            (From::Network(_), Place::Local) => Answer::No,
            // A host name comes from a reverse lookup, so an attacker can choose it. Without a host, as in sudo
            // inside ssh, every address is possible.
            (From::Network(network), Place::Remote(host)) => match host.and_then(address) {
                Some(address) => Answer::known(network.holds(address)),
                None => Answer::Unknown,
            },
        }
    }
}

/// Reads a literal address. IPv4 inside IPv6 counts as IPv4, and the zone (`%eth0`) is removed.
pub fn address(host: &str) -> Option<IpAddr> {
    let (literal, link) = host.split_once('%').unwrap_or((host, "0"));
    // A server that passes on text from a client could pass on more than an address.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if link.is_empty() || link.len() > 15 || !link.chars().all(plain) {
        return None;
    }
    literal.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

impl Network {
    /// Reads `10.0.0.0/8` or one address. The error says what is wrong. IPv4 inside IPv6 counts as IPv4, as in
    /// [`address`].
    pub fn parse(text: &str) -> Result<Network, String> {
        let (literal, bits) = text.split_once('/').map_or((text, None), |(literal, bits)| (literal, Some(bits)));
        let wrong = || format!("\"{text}\" is no network, such as 10.0.0.0/8, and neither \"local\" nor \"remote\"");
        let address: IpAddr = literal.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(all), |bits| bits.parse().ok().filter(|bits| *bits <= all)).ok_or_else(wrong)?;
        let network = Network { address, bits };
        let first = network.first();
        // 10.0.0.1/8 could mean the network or the address.
        if first != address {
            return Err(format!("\"{text}\" has bits behind its length: write {first}/{bits}, or {address}"));
        }
        match (address.to_canonical(), bits.checked_sub(96)) {
            (inside @ IpAddr::V4(_), Some(rest)) if address.is_ipv6() => Ok(Network { address: inside, bits: rest }),
            _ => Ok(network),
        }
    }

    /// Whether it holds all addresses of its family: of IPv6, or else of IPv4.
    pub fn is_all_of(&self, ipv6: bool) -> bool {
        self.bits == 0 && self.address.is_ipv6() == ipv6
    }

    /// Whether the address belongs to it.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Network { address, ..*self }.first() == self.address
    }

    /// The address with all bits after the prefix cleared.
    fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> From {
        From::Network(Network::parse(text).unwrap())
    }

    fn remote(host: &str, networks: &[&str]) -> Answer {
        let from: Vec<From> = networks.iter().map(|text| network(text)).collect();
        Place::Remote(Some(host)).is_in(&from)
    }

    #[test]
    fn an_address_is_in_its_networks() {
        assert_eq!(remote("10.255.0.1", &["10.0.0.0/8"]), Answer::Yes);
        assert_eq!(remote("11.0.0.1", &["10.0.0.0/8"]), Answer::No);
        assert_eq!(remote("11.0.0.1", &["10.0.0.0/8", "0.0.0.0/0"]), Answer::Yes);
        assert_eq!(remote("2001:db8::1", &["2001:db8::/32"]), Answer::Yes);
        assert_eq!(remote("2001:db9::1", &["2001:db8::/32"]), Answer::No);
        assert_eq!(remote("192.0.2.7", &["192.0.2.7"]), Answer::Yes);
        assert_eq!(remote("192.0.2.8", &["192.0.2.7/32"]), Answer::No);
        assert_eq!(remote("192.0.2.8", &["::/0"]), Answer::No);
        assert_eq!(remote("::ffff:10.0.0.1", &["10.0.0.0/8"]), Answer::Yes);
        for host in ["127.0.0.1", "::ffff:127.0.0.1"] {
            assert_eq!(remote(host, &["::ffff:127.0.0.0/104"]), Answer::Yes);
            assert_eq!(remote(host, &["::ffff:127.0.0.1"]), Answer::Yes);
            assert_eq!(remote(host, &["::ffff:0:0/96"]), Answer::Yes);
            assert_eq!(remote(host, &["::ffff:10.0.0.0/104", "::/0"]), Answer::No);
        }
        assert_eq!(remote("fe80::1%eth0", &["fe80::/10"]), Answer::Yes);
    }

    #[test]
    fn what_is_no_literal_address_could_be_anywhere() {
        for host in [
            "",
            "fe80::1%",
            "fe80::1%a\nb",
            "fe80::1%0123456789abcdef",
            "10.0.0.1.example",
            "localhost",
            "010.0.0.1",
            "10.1",
            "0x0a000001",
            "10.0.0.1:22",
        ] {
            assert_eq!(remote(host, &["10.0.0.0/8"]), Answer::Unknown, "{host:?}");
        }
        assert_eq!(Place::Remote(None).is_in(&[network("10.0.0.0/8")]), Answer::Unknown);
        assert_eq!(Place::Unknown.is_in(&[From::Local]), Answer::Unknown);
    }

    #[test]
    fn a_seat_is_no_network() {
        assert_eq!(Place::Local.is_in(&[network("0.0.0.0/0"), network("::/0")]), Answer::No);
        assert_eq!(Place::Local.is_in(&[From::Local]), Answer::Yes);
        assert_eq!(Place::Local.is_in(&[From::Remote]), Answer::No);
        assert_eq!(Place::Remote(None).is_in(&[From::Remote, network("10.0.0.0/8")]), Answer::Yes);
    }

    #[test]
    fn a_network_is_written_one_way() {
        let said = |text| Network::parse(text).unwrap_err();
        assert!(said("10.0.0.1/8").contains("write 10.0.0.0/8, or 10.0.0.1"));
        for wrong in
            ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10/8", "example.org", "lokal", "10.0.0.0/8/8"]
        {
            assert!(said(wrong).contains("is no network"), "{wrong}");
        }
        assert_eq!(Network::parse("0.0.0.0/0").map(|n| n.bits), Ok(0));
    }
}
