//! Host names into addresses, by the resolver of the system.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::is_localhost;
use crate::thread;

/// Every address of a host. `localhost` is both loopback addresses, whatever the resolver says
/// (RFC 6761, 6.3): a server may listen on one of them only.
///
/// A thread of our own, since tokio panics where no thread can be had.
pub(super) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if is_localhost(host) {
        return Ok(vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]);
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let name = host.to_owned();
    let resolved = thread::run(move || (name.as_str(), port).to_socket_addrs()).await?;
    let addresses: Vec<SocketAddr> = match resolved {
        Ok(addresses) => addresses.collect(),
        Err(e) => return Err(format!("DNS: {}", strip_prefix(&e.to_string()))),
    };
    if addresses.is_empty() {
        return Err("DNS: the name has no address".to_owned());
    }
    Ok(addresses)
}

fn strip_prefix(message: &str) -> &str {
    message
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(message)
}
