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

use super::looked_up_once::{self, Addresses};
use super::{is_localhost, stage};
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
pub(super) async fn resolve(host: &str, port: u16) -> Result<Addresses, String> {
    if is_localhost(host) {
        return Ok(whole(vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(whole(vec![(ip, port).into()]));
    }
    stage::resolving(host);
    let found = looked_up_once::addresses(host, ask(host)).await;
    let mut addresses = found.map_err(|e| format!("DNS: {e}"))?;
    if addresses.all.is_empty() {
        return Err("DNS: the name has no address".to_owned());
    }
    addresses
        .all
        .iter_mut()
        .for_each(|address| address.set_port(port));
    Ok(addresses)
}

fn whole(all: Vec<SocketAddr>) -> Addresses {
    Addresses {
        all,
        left_out: None,
    }
}

/// `EAI_NODATA` in glibc's words: there is such a name, without an address of this family.
const NO_DATA: &str = "No address associated with hostname";
/// `EAI_AGAIN`: no name server has answered, or none could; the next question may fare better.
const AGAIN: &str = "Temporary failure in name resolution";

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

/// What the resolver says, or why there is no thread to ask it.
type Resolved = Result<Answer, String>;

type Answer = Result<Vec<SocketAddr>, String>;

/// Its addresses, with any port.
async fn ask(host: &str) -> Result<Addresses, String> {
    let started = clock::instant();
    let asking = async |family| (family, question(host, family).await);
    let mut asked = FuturesUnordered::from_iter([asking(Family::Any)]);
    let mut again = AGAIN_AFTER.iter().map(|after| started + *after);
    let mut next = again.next();
    let mut known = Known::default();
    let mut asked_again = false;
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
                known.learn(family, resolved);
                // A failure that comes early is an answer, and no silence.
                let more = asked_again && (!asked.is_empty() || next.is_some());
                if let Some(answer) = known.answer(more) {
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
                asked_again = true;
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

/// The answers so far: for both families at once, and for each by itself.
#[derive(Debug, Default)]
struct Known {
    any: Option<Answer>,
    v4: Option<Answer>,
    v6: Option<Answer>,
}

impl Known {
    fn learn(&mut self, family: Family, resolved: Resolved) {
        let (place, answer) = match (family, resolved) {
            (Family::Any, resolved) => (&mut self.any, resolved.unwrap_or_else(Err)),
            // Without a thread to ask again, the first question stands.
            (Family::V4 | Family::V6, Err(_)) => return,
            (Family::V4, Ok(answer)) => (&mut self.v4, answer),
            (Family::V6, Ok(answer)) => (&mut self.v6, answer),
        };
        if !matches!(place, Some(Ok(_))) {
            *place = Some(answer);
        }
    }

    /// The result of all answers, once no other is worth waiting for. `more`: others may still come.
    fn answer(&self, more: bool) -> Option<Result<Addresses, String>> {
        if let Some(Ok(all)) = &self.any {
            return Some(Ok(whole(all.clone())));
        }
        if self.has_addresses() {
            let both = self.v4.is_some() && self.v6.is_some();
            return (both || self.any.is_some()).then(|| Ok(self.addresses()));
        }
        let apart = match (&self.v4, &self.v6) {
            // A name may well have one family only: then the other one tells why there is nothing.
            (Some(Err(v4)), Some(Err(v6))) if v4 == NO_DATA => Some(v6),
            (Some(Err(v4)), Some(Err(_))) => Some(v4),
            _ => None,
        };
        let together = self.any.as_ref().and_then(|any| any.as_ref().err());
        let mut failures = apart.into_iter().chain(together);
        let failure = failures.find(|why| !more || *why != AGAIN)?;
        Some(Err(failure.clone()))
    }

    fn has_addresses(&self) -> bool {
        matches!((&self.v4, &self.v6), (Some(Ok(_)), _) | (_, Some(Ok(_))))
    }

    /// IPv6 first (RFC 6724, 2.1); what this machine can't reach fails at once.
    fn addresses(&self) -> Addresses {
        let found = [&self.v6, &self.v4].into_iter().flatten();
        let is_silent = |family: &Option<Answer>| match family {
            None => true,
            Some(Ok(_)) => false,
            Some(Err(why)) => why == AGAIN,
        };
        let families = [(&self.v6, "IPv6"), (&self.v4, "IPv4")];
        let mut silent = families.into_iter().filter(|(answer, _)| is_silent(answer));
        Addresses {
            all: found.flatten().flatten().copied().collect(),
            left_out: silent.next().map(|(_, family)| family),
        }
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

    fn ip(text: &str) -> Answer {
        Ok(vec![SocketAddr::new(text.parse().unwrap(), 1)])
    }

    fn no(why: &str) -> Answer {
        Err(why.to_owned())
    }

    /// What is known after these answers.
    fn after(answers: &[(Family, &Answer)]) -> Known {
        let mut known = Known::default();
        for (family, answer) in answers {
            known.learn(*family, Ok((*answer).clone()));
        }
        known
    }

    fn found(answer: &Answer, left_out: Option<&'static str>) -> Result<Addresses, String> {
        let all = answer.clone()?;
        Ok(Addresses { all, left_out })
    }

    #[test]
    fn an_answer_for_both_families_is_all_there_is() {
        let four = ip("10.0.0.1");
        let known = after(&[(Family::Any, &four)]);
        assert_eq!(known.answer(true), Some(found(&four, None)));
        let mut known = Known::default();
        known.learn(Family::Any, Err("no thread".into()));
        assert_eq!(known.answer(true), Some(Err("no thread".into())));
    }

    #[test]
    fn one_family_with_addresses_waits_for_the_other_and_needs_none_of_it() {
        let (four, six) = (ip("10.0.0.1"), ip("::2"));
        let mut known = after(&[(Family::V4, &four)]);
        assert_eq!(known.answer(true), None);
        assert!(known.has_addresses());
        assert_eq!(Ok(known.addresses()), found(&four, Some("IPv6")));
        known.learn(Family::V6, Ok(six.clone()));
        let both = Ok([six.clone().unwrap(), four.unwrap()].concat());
        assert_eq!(known.answer(true), Some(found(&both, None)));
        let known = after(&[(Family::V6, &six)]);
        assert_eq!(Ok(known.addresses()), found(&six, Some("IPv4")));
    }

    #[test]
    fn a_family_that_has_no_address_decides_nothing_alone() {
        let four = ip("10.0.0.1");
        let mut known = after(&[(Family::V6, &no("none"))]);
        assert_eq!(known.answer(true), None);
        assert!(!known.has_addresses());
        known.learn(Family::V4, Ok(four.clone()));
        assert_eq!(known.answer(true), Some(found(&four, None)));
        for (four, said) in [("four", "four"), (NO_DATA, "six")] {
            let known = after(&[(Family::V6, &no("six")), (Family::V4, &no(four))]);
            assert_eq!(known.answer(true), Some(Err(said.to_owned())));
        }
    }

    #[test]
    fn what_was_found_is_not_lost_to_a_later_failure() {
        let four = ip("10.0.0.1");
        let mut known = after(&[(Family::V4, &four), (Family::V4, &no("SERVFAIL"))]);
        known.learn(Family::V6, Err("no thread".into()));
        assert_eq!(known.answer(true), None);
        assert_eq!(Ok(known.addresses()), found(&four, Some("IPv6")));
        for why in [AGAIN, "Name or service not known"] {
            let known = after(&[(Family::V4, &four), (Family::Any, &no(why))]);
            assert_eq!(known.answer(true), Some(found(&four, Some("IPv6"))));
        }
    }

    #[test]
    fn a_temporary_failure_waits_for_whatever_may_still_come() {
        let again = no(AGAIN);
        let first = after(&[(Family::Any, &again)]);
        let all = after(&[
            (Family::Any, &again),
            (Family::V4, &again),
            (Family::V6, &no(NO_DATA)),
        ]);
        for mut known in [first, all] {
            assert_eq!(known.answer(true), None);
            assert_eq!(known.answer(false), Some(Err(AGAIN.to_owned())));
            known.learn(Family::V4, Ok(ip("10.0.0.1")));
            assert!(known.answer(true).is_some_and(|answer| answer.is_ok()));
        }
        let known = after(&[(Family::Any, &no("Name or service not known"))]);
        assert!(known.answer(true).is_some_and(|answer| answer.is_err()));
        let known = after(&[(Family::V6, &again), (Family::V4, &ip("10.0.0.1"))]);
        assert_eq!(known.addresses().left_out, Some("IPv6"));
    }
}
