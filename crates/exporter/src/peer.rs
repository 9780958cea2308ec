//! Who a client is: where it comes from, and what it proved.
//!
//! The rules of who may reach an export live here, as they are about nothing else:
//! - a name proved over TLS that is among the host's initiators, from wherever it comes;
//! - the host's recorded address, over TCP;
//! - this machine, over the unix socket, if that address is a loopback one: hosts are marked local by it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Over TCP; an IPv4 address that came as an IPv6 one is an IPv4 one here.
    Tcp(SocketAddr),
    /// Over the unix socket, so from this machine; its process, unless that cannot be seen from here (another pid namespace).
    Unix(Option<u32>),
}

/// A client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) origin: Origin,
    /// The name it proved over TLS.
    pub(crate) subject: Option<String>,
}

impl Peer {
    /// One that has proved nothing yet.
    pub(crate) const fn new(origin: Origin) -> Self {
        Self { origin, subject: None }
    }

    /// Whether it may reach an export for the host with that address and those initiators.
    pub(crate) fn may_reach(&self, address: IpAddr, initiators: &[String]) -> bool {
        self.is_among(initiators) || self.origin.is_at(address.to_canonical())
    }

    /// Whether it may be told the names of such exports, which are what opens them: over TCP an address is no proof enough.
    pub(crate) fn may_list(&self, address: IpAddr, initiators: &[String]) -> bool {
        match self.origin {
            Origin::Tcp(_) => self.is_among(initiators),
            Origin::Unix(_) => self.may_reach(address, initiators),
        }
    }

    fn is_among(&self, initiators: &[String]) -> bool {
        self.subject.as_ref().is_some_and(|subject| initiators.contains(subject))
    }

    /// Who it is: the name it proved, else its process, else its address without the port, so that all connections of one
    /// client share it.
    pub(crate) fn identity(&self) -> String {
        match (&self.subject, self.origin) {
            (Some(subject), _) => subject.clone(),
            (None, Origin::Tcp(address)) => address.ip().to_string(),
            (None, Origin::Unix(_)) => self.origin.to_string(),
        }
    }
}

impl Origin {
    fn is_at(self, address: IpAddr) -> bool {
        match self {
            Self::Tcp(from) => from.ip() == address,
            Self::Unix(_) => address.is_loopback(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some(pid)) => write!(f, "unix pid {pid}"),
            Self::Unix(None) => f.write_str("unix pid unknown"),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Peer {
        Peer::new(Origin::Tcp(text.parse().expect("an address")))
    }

    fn proved(subject: &str, peer: Peer) -> Peer {
        Peer { subject: Some(subject.to_owned()), ..peer }
    }

    #[test]
    fn a_peer_reaches_what_is_for_its_address_or_the_name_it_proved() {
        let unix = || Peer::new(Origin::Unix(Some(17)));
        // Who, the host's address; whether it may reach (the initiators are db-1 and db-2), and be told the name.
        let rows = [
            (tcp("10.0.0.5:1000"), "10.0.0.5", true, false),
            (tcp("10.0.0.5:1000"), "::ffff:10.0.0.5", true, false),
            (tcp("10.0.0.5:1000"), "10.0.0.6", false, false),
            (tcp("127.0.0.1:1000"), "127.0.0.2", false, false),
            (tcp("[2001:db8::1]:1000"), "2001:db8::1", true, false),
            (unix(), "127.0.0.1", true, true),
            (unix(), "::1", true, true),
            (unix(), "10.0.0.5", false, false),
            (proved("db-2", tcp("10.0.0.9:1")), "10.0.0.5", true, true),
            (proved("db-2", unix()), "10.0.0.5", true, true),
            (proved("db-3", tcp("10.0.0.9:1")), "10.0.0.5", false, false),
            (proved("db-3", tcp("10.0.0.5:1")), "10.0.0.5", true, false),
            (proved("", tcp("10.0.0.9:1")), "10.0.0.5", false, false),
        ];
        for (peer, address, reaches, is_told) in rows {
            let (address, initiators) = (address.parse().expect("an address"), ["db-1".to_owned(), "db-2".to_owned()]);
            assert_eq!(peer.may_reach(address, &initiators), reaches, "{peer:?} {address}");
            assert_eq!(peer.may_list(address, &initiators), is_told, "{peer:?} {address}");
        }
    }

    #[test]
    fn the_identity_is_the_best_that_is_known() {
        assert_eq!(tcp("10.0.0.5:1000").identity(), "10.0.0.5");
        assert_eq!(Peer::new(Origin::Unix(Some(17))).identity(), "unix pid 17");
        assert_eq!(proved("db-1", tcp("10.0.0.5:1000")).identity(), "db-1");
    }
}
