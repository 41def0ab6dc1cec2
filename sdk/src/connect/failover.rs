//! Which of a store's servers is asked, and what is said of those that did not answer: one policy
//! for agents, `list` and `mark`. Checks, `peer:` among them, ask all at once.
//!
//! Servers are asked in the order of the address, beginning with the one that is next. A silent one
//! leaves the others their time: each gets an equal [`share`] of what is left, or a second if there
//! is no limit. After a round in which none answered, an agent gives each server a whole turn.

use std::time::Duration;

use super::Endpoint;

/// What came of asking servers in turn.
#[derive(Debug)]
pub struct Asked<'a, T, E> {
    /// The answers, in the order in which they came.
    pub answers: Vec<T>,
    /// Those that did not answer, and why, in the order in which they were asked.
    pub failures: Vec<(&'a Endpoint, E)>,
}

/// A server to ask.
#[derive(Debug, Clone, Copy)]
pub struct Next<'a> {
    /// The server.
    pub endpoint: &'a Endpoint,
    /// Its number in the address.
    pub number: usize,
    /// How many are still to be asked, this one included.
    pub left: u32,
}

/// Asks servers one after another, beginning with number `next`, until `wanted` have answered.
pub async fn in_turn<'a, T, E>(
    endpoints: &'a [Endpoint],
    next: usize,
    wanted: usize,
    mut ask: impl AsyncFnMut(Next<'a>) -> Result<T, E>,
) -> Asked<'a, T, E> {
    let mut asked = Asked {
        answers: Vec::new(),
        failures: Vec::new(),
    };
    let first = next.checked_rem(endpoints.len()).unwrap_or(0);
    let numbered = endpoints.iter().enumerate();
    let mut left = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
    for (number, endpoint) in numbered.clone().skip(first).chain(numbered.take(first)) {
        let next = Next {
            endpoint,
            number,
            left,
        };
        match ask(next).await {
            Ok(answer) => asked.answers.push(answer),
            Err(why) => asked.failures.push((endpoint, why)),
        }
        if asked.answers.len() >= wanted {
            break;
        }
        left = left.saturating_sub(1);
    }
    asked
}

/// The share of the time left for one server, if so many are still to be asked.
#[must_use]
pub fn share(left: Duration, among: u32) -> Duration {
    left / among.max(1)
}

/// What a server said, for people; with its name if the address has several.
#[must_use]
pub fn named(endpoints: &[Endpoint], endpoint: &Endpoint, said: &str) -> String {
    if endpoints.len() > 1 {
        each_named(&[(endpoint, said)])
    } else {
        said.to_owned()
    }
}

/// Why none of them answers, in one line: each server once; a single one without its name.
#[must_use]
pub fn why_none<E: AsRef<str>>(endpoints: &[Endpoint], failures: &[(&Endpoint, E)]) -> String {
    match (endpoints, failures) {
        ([_], [(_, why)]) => why.as_ref().to_owned(),
        _ => each_named(failures),
    }
}

/// The same, but naming a single one, too: for a line that does not say whom it is about.
#[must_use]
pub fn each_named<E: AsRef<str>>(failures: &[(&Endpoint, E)]) -> String {
    if failures.is_empty() {
        return "the address names no server".to_owned();
    }
    let lines = failures.iter().map(|(endpoint, why)| {
        let (name, why) = (endpoint.to_string(), why.as_ref());
        if why.starts_with(&name) {
            why.to_owned()
        } else {
            format!("{name}: {why}")
        }
    });
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn servers(ports: &[u16]) -> Vec<Endpoint> {
        let tcp = |port: &u16| Endpoint::Tcp {
            host: "h".to_owned(),
            port: *port,
        };
        ports.iter().map(tcp).collect()
    }

    /// Which servers were asked, with how many left, and which answered, where those with an odd port do.
    fn ask(ports: &[u16], next: usize, wanted: usize) -> (Vec<(String, u32)>, Vec<usize>, String) {
        let endpoints = servers(ports);
        let order = RefCell::new(Vec::new());
        let asked = in_turn(&endpoints, next, wanted, async |next: Next<'_>| {
            order
                .borrow_mut()
                .push((next.endpoint.to_string(), next.left));
            match next.endpoint {
                Endpoint::Tcp { port, .. } if port % 2 == 1 => Ok(next.number),
                Endpoint::Tcp { .. } | Endpoint::Unix(_) => Err("refused"),
            }
        });
        let polled = pin!(asked).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(asked) = polled else {
            panic!("nobody waits");
        };
        let why = why_none(&endpoints, &asked.failures);
        (order.take(), asked.answers, why)
    }

    #[test]
    fn servers_are_asked_in_order_from_the_next_one_on_until_enough_have_answered() {
        let order = |asked: &[(&str, u32)]| -> Vec<(String, u32)> {
            let own = asked.iter().map(|(name, left)| ((*name).to_owned(), *left));
            own.collect()
        };
        let (asked, answered, why) = ask(&[2, 3, 5], 0, 1);
        assert_eq!(asked, order(&[("h:2", 3), ("h:3", 2)]));
        assert_eq!((answered, why.as_str()), (vec![1], "h:2: refused"));
        let (asked, answered, _) = ask(&[2, 3, 4], 5, usize::MAX);
        assert_eq!(asked, order(&[("h:4", 3), ("h:2", 2), ("h:3", 1)]));
        assert_eq!(answered, [1]);
    }

    #[test]
    fn where_none_answers_each_is_named_once_and_one_alone_not_at_all() {
        assert_eq!(ask(&[2, 4], 1, 1).2, "h:4: refused; h:2: refused");
        assert_eq!(ask(&[2], 0, 1).2, "refused");
        assert_eq!(ask(&[], 0, 1).2, "the address names no server");
    }

    #[test]
    fn what_begins_with_the_servers_name_is_not_named_again() {
        let endpoints = servers(&[2, 4]);
        assert_eq!(named(&endpoints, &endpoints[0], "h:2: gone"), "h:2: gone");
    }

    #[test]
    fn one_that_is_silent_leaves_the_others_their_time() {
        assert_eq!(share(Duration::from_secs(3), 3), Duration::from_secs(1));
        assert_eq!(share(Duration::from_secs(2), 1), Duration::from_secs(2));
        assert_eq!(share(Duration::ZERO, 0), Duration::ZERO);
    }
}
