//! Which addresses are this machine's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Refuses a host that is another machine: its address must be a loopback address or one of an interface here.
///
/// The kernel is asked for the way to the address: to its own addresses it speaks from the very same address. Nothing is sent.
/// (Binding to the address would not tell: `ip_nonlocal_bind` lets that pass for any.)
pub(crate) fn require(address: &str) -> Result<(), String> {
    let parsed: IpAddr = address.parse().map_err(|_| format!("the host's address {address:?} is no IP address"))?;
    let asked = parsed.to_canonical();
    if asked.is_loopback() || source_towards(asked) == Some(asked) {
        return Ok(());
    }
    Err(format!(
        "protocol local makes block devices of the controller's machine, and the host's address {asked} is not one of its own; \
         attach with another protocol, or record the address that the host has here"
    ))
}

/// The address from which this machine would speak to `target`.
fn source_towards(target: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Any port does: connecting a datagram socket only looks up the way.
    socket.connect((target, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_here_and_others_are_not() {
        for address in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(require(address), Ok(()), "{address}");
        }
        for address in ["192.0.2.7", "2001:db8::7", "0.0.0.0", "::", "255.255.255.255", "224.0.0.1", "host-1", ""] {
            assert!(require(address).is_err_and(|why| why.contains("address")), "{address}");
        }
    }

    #[test]
    fn the_address_of_an_interface_is_here() {
        // The address that leads to a documentation network is one of an interface, if there is any way out.
        if let Some(own) = source_towards(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))) {
            assert_eq!(require(&own.to_string()), Ok(()), "{own}");
        }
    }
}
