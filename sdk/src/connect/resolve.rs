//! Host names into addresses, by the resolver of the system.
//!
//! glibc asks for both families at once, waits for both answers, and repeats a lost question after
//! 5 s (resolv.conf(5), `timeout`): a name server that never answers for AAAA, or one lost
//! datagram, costs a probe its whole deadline. So after a moment of silence we also ask for each
//! family by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use dns_lookup::{AddrFamily, AddrInfoHints, SockType, getaddrinfo};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{is_localhost, round, stage};
use crate::clock;
use crate::thread;

/// When to ask again, after the first question. Most names take much less; each time costs two
/// threads.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1_500)];
/// Once one family has addresses, the other gets so long: both were asked for together (RFC 8305,
/// 3).
const OTHER_FAMILY: Duration = Duration::from_millis(50);

/// Every address of a host. `localhost` is both loopback addresses, whatever the resolver says
/// (RFC 6761, 6.3): a server may listen on one of them only.
///
/// On threads of our own: tokio panics if it can't have one.
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
    stage::resolving(host);
    let found = round::addresses(host, ask(host)).await;
    let mut addresses = found.map_err(|e| format!("DNS: {e}"))?;
    if addresses.is_empty() {
        return Err("DNS: the name has no address".to_owned());
    }
    addresses
        .iter_mut()
        .for_each(|address| address.set_port(port));
    Ok(addresses)
}

/// `EAI_NODATA` in glibc's words: there is such a name, without an address of this family.
const NO_DATA: &str = "No address associated with hostname";

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

/// What the resolver says, or why there is no thread to ask it.
type Resolved = Result<Result<Vec<SocketAddr>, String>, String>;

/// Its addresses, with any port.
async fn ask(host: &str) -> Result<Vec<SocketAddr>, String> {
    let started = clock::instant();
    let asking = async |family| (family, question(host, family).await);
    let mut asked = FuturesUnordered::from_iter([asking(Family::Any)]);
    let mut again = AGAIN_AFTER.iter().map(|after| started + *after);
    let mut next = again.next();
    let mut known = Known::default();
    let mut settled = None;
    loop {
        let wakes = [next, settled].into_iter().flatten().min();
        let wake = async {
            match wakes {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((family, resolved)) = asked.next() => {
                if let Some(answer) = known.learn(family, resolved) {
                    return answer;
                }
                if known.has_addresses() && settled.is_none() {
                    settled = Some(clock::instant() + OTHER_FAMILY);
                }
            }
            () = wake => {
                if settled.is_some_and(|at| at <= clock::instant()) {
                    return Ok(known.addresses());
                }
                asked.push(asking(Family::V4));
                asked.push(asking(Family::V6));
                next = again.next();
            }
        }
    }
}

async fn question(host: &str, family: Family) -> Resolved {
    let name = host.to_owned();
    let family = match family {
        Family::Any => {
            return thread::run(move || {
                let resolved = (name.as_str(), 0).to_socket_addrs();
                resolved.map(Iterator::collect).map_err(|e| plain(&e))
            })
            .await;
        }
        Family::V4 => AddrFamily::Inet,
        Family::V6 => AddrFamily::Inet6,
    };
    let hints = AddrInfoHints {
        address: family.into(),
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    thread::run(move || {
        let found = getaddrinfo(Some(&name), None, Some(hints));
        let found = found.map_err(|e| plain(&e.into()))?;
        let found = found.filter_map(Result::ok);
        Ok(found.map(|info| info.sockaddr).collect())
    })
    .await
}

/// What is known about each family by itself.
#[derive(Debug, Default)]
struct Known {
    v4: Option<Result<Vec<SocketAddr>, String>>,
    v6: Option<Result<Vec<SocketAddr>, String>>,
}

impl Known {
    /// Adds an answer; returns the result of all of them, once no other is worth waiting for.
    fn learn(
        &mut self,
        family: Family,
        resolved: Resolved,
    ) -> Option<Result<Vec<SocketAddr>, String>> {
        let place = match family {
            Family::Any => return Some(resolved.unwrap_or_else(Err)),
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        // Without a thread to ask again, the first question stands.
        let resolved = resolved.ok()?;
        if !matches!(place, Some(Ok(_))) {
            *place = Some(resolved);
        }
        match (&self.v4, &self.v6) {
            // A name may well have one family only: then the other one tells why there is nothing.
            (Some(Err(v4)), Some(Err(v6))) if v4 == NO_DATA => Some(Err(v6.clone())),
            (Some(Err(v4)), Some(Err(_))) => Some(Err(v4.clone())),
            (Some(_), Some(_)) => Some(Ok(self.addresses())),
            (Some(_), None) | (None, Some(_) | None) => None,
        }
    }

    fn has_addresses(&self) -> bool {
        matches!((&self.v4, &self.v6), (Some(Ok(_)), _) | (_, Some(Ok(_))))
    }

    /// IPv6 first (RFC 6724, 2.1); what this machine can't reach fails at once.
    fn addresses(&self) -> Vec<SocketAddr> {
        let found = [&self.v6, &self.v4].into_iter().flatten();
        found.flatten().flatten().copied().collect()
    }
}

fn plain(e: &std::io::Error) -> String {
    let text = e.to_string();
    let text = text.strip_prefix("failed to lookup address information: ");
    text.map_or_else(|| e.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Result<Vec<SocketAddr>, String> {
        Ok(vec![SocketAddr::new(text.parse().unwrap(), 1)])
    }

    fn no(why: &str) -> Result<Vec<SocketAddr>, String> {
        Err(why.to_owned())
    }

    #[test]
    fn an_answer_for_both_families_is_all_there_is() {
        let mut known = Known::default();
        assert_eq!(
            known.learn(Family::Any, Ok(ip("10.0.0.1"))),
            Some(ip("10.0.0.1"))
        );
        assert_eq!(
            known.learn(Family::Any, Err("no thread".into())),
            Some(no("no thread"))
        );
    }

    #[test]
    fn one_family_with_addresses_waits_for_the_other_and_needs_none_of_it() {
        let mut known = Known::default();
        assert_eq!(known.learn(Family::V4, Ok(ip("10.0.0.1"))), None);
        assert!(known.has_addresses());
        assert_eq!(known.addresses(), ip("10.0.0.1").unwrap());
        let both = [ip("::2").unwrap(), ip("10.0.0.1").unwrap()].concat();
        assert_eq!(known.learn(Family::V6, Ok(ip("::2"))), Some(Ok(both)));
    }

    #[test]
    fn a_family_that_has_no_address_decides_nothing_alone() {
        let mut known = Known::default();
        assert_eq!(known.learn(Family::V6, Ok(no("none"))), None);
        assert!(!known.has_addresses());
        assert_eq!(
            known.learn(Family::V4, Ok(ip("10.0.0.1"))),
            Some(ip("10.0.0.1"))
        );
        let mut known = Known::default();
        assert_eq!(known.learn(Family::V6, Ok(no("six"))), None);
        assert_eq!(known.learn(Family::V4, Ok(no("four"))), Some(no("four")));
        let mut known = Known::default();
        assert_eq!(known.learn(Family::V4, Ok(no(NO_DATA))), None);
        assert_eq!(known.learn(Family::V6, Ok(no("six"))), Some(no("six")));
    }

    #[test]
    fn what_was_found_is_not_lost_to_a_later_failure() {
        let mut known = Known::default();
        assert_eq!(known.learn(Family::V4, Ok(ip("10.0.0.1"))), None);
        assert_eq!(known.learn(Family::V4, Ok(no("SERVFAIL"))), None);
        assert_eq!(known.learn(Family::V6, Err("no thread".into())), None);
        assert_eq!(known.addresses(), ip("10.0.0.1").unwrap());
    }
}
