use std::cell::Cell;
use std::future::{pending, ready};

use super::*;

/// A connection that is as long alive as it is `quiet`.
struct Line {
    quiet: bool,
}

impl Resting for Line {
    fn poll_settled(&mut self, _: &mut Context<'_>) -> Poll<bool> {
        Poll::Ready(self.quiet)
    }

    fn poll_ended(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.quiet {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

fn opened(url: &str) -> Opened {
    let address = RedisAddress::parse(url, &mut TlsOptions::default());
    Opened::Redis(address.unwrap(), TlsOptions::default())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    crate::event_loop::start().unwrap().block_on(work)
}

#[test]
fn a_connection_is_kept_for_a_minute() {
    let kept = Kept::new();
    for (age_ms, stays) in [(0, true), (59_000, true), (60_000, false), (90_000, false)] {
        let since = clock::instant() - Duration::from_millis(age_ms);
        let rest = kept
            .of("t")
            .at_rest(opened("redis://h"), Line { quiet: true }, since);
        kept.put(rest);
        let taken = kept.of("t").take::<Line>(&opened("redis://h"));
        assert_eq!(taken.is_some(), stays, "{age_ms}");
        // Whoever puts it back does not make it younger.
        assert!(taken.is_none_or(|(_, again)| again == since));
        assert!(kept.resting.borrow().is_empty());
    }
}

#[test]
fn a_connection_that_is_old_is_closed_while_it_rests() {
    let kept = Kept::new();
    let since = clock::instant() + Duration::from_millis(30) - KEPT_FOR;
    let link = Line { quiet: true };
    let rest = kept.of("t").at_rest(opened("redis://h"), link, since);
    kept.resting.borrow_mut().push(rest);
    let ended = block_on(async {
        let closed = async {
            while !kept.resting.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            ended = kept.ended() => Some(ended),
            () = closed => None,
        }
    });
    assert_eq!(ended, None);
}

#[test]
fn a_connection_is_used_by_its_target_and_as_it_was_opened() {
    let kept = Kept::new();
    kept.of("t")
        .put(opened("redis://:a@h"), Line { quiet: true });
    for (target, url, is_its) in [
        ("u", "redis://:a@h", false),
        ("t", "redis://:b@h", false),
        ("t", "redis://:a@h/1", false),
        ("t", "redis://:a@h,i", false),
        ("t", "rediss://:a@h", false),
        ("t", "redis://:a@h", true),
        // By one question at a time.
        ("t", "redis://:a@h", false),
    ] {
        let taken = kept.of(target).take::<Line>(&opened(url));
        assert_eq!(taken.is_some(), is_its, "{target} {url}");
    }
}

#[test]
fn what_is_not_quiet_is_neither_kept_nor_used() {
    let kept = Kept::new();
    kept.of("t").put(opened("redis://h"), Line { quiet: false });
    assert!(kept.resting.borrow().is_empty());
    let dead = kept
        .of("t")
        .at_rest(opened("redis://h"), Line { quiet: false }, clock::instant());
    kept.resting.borrow_mut().push(dead);
    assert!(kept.of("t").take::<Line>(&opened("redis://h")).is_none());
}

#[test]
fn an_end_is_news_of_a_target_once_in_half_a_minute() {
    let kept = Kept::new();
    let start = clock::instant();
    let ended = |targets: &str, at_s| {
        let all = targets.split(' ').map(str::to_owned).collect();
        let news = kept.news(all, start + Duration::from_secs(at_s));
        news.into_iter().collect::<Vec<_>>().join(" ")
    };
    for (targets, at_s, news) in [
        ("a", 0, "a"),
        ("a b", 1, "b"),
        ("a b", 29, ""),
        // What was no news does not put it off.
        ("a b", 30, "a"),
        ("a b", 31, "b"),
        ("a b", 59, ""),
        ("a b", 90, "a b"),
    ] {
        assert_eq!(ended(targets, at_s), news, "{targets} after {at_s} s");
    }
}

#[test]
fn resting_connections_leave_the_process_its_descriptors() {
    for (descriptors, want) in [(0, 0), (16, 4), (255, 63), (256, 64), (u64::MAX, 64)] {
        assert_eq!(most(descriptors), want, "{descriptors}");
    }
}

/// Who is asked, what they say, and after how many milliseconds.
fn said(again: Option<(u64, Option<&str>)>, anew: Option<u64>) -> (String, bool) {
    let set = Duration::from_millis(300);
    let limit = TimeLimit {
        at: clock::instant() + set,
        set,
    };
    let wait = async |after_ms| tokio::time::sleep(Duration::from_millis(after_ms)).await;
    let is_asked = Cell::new(false);
    let again = async {
        let Some((after_ms, said)) = again else {
            return pending().await;
        };
        wait(after_ms).await;
        said.map(str::to_owned)
    };
    let anew = async {
        is_asked.set(true);
        match anew {
            None => pending().await,
            Some(0) => ready("anew".to_owned()).await,
            Some(after_ms) => {
                wait(after_ms).await;
                "anew".to_owned()
            }
        }
    };
    let said = block_on(first(limit, again, anew));
    (said, is_asked.get())
}

#[test]
fn what_a_resting_connection_says_counts_if_it_is_a_yes_and_comes_first() {
    // At once.
    assert_eq!(
        said(Some((0, Some("again"))), None),
        ("again".into(), false)
    );
    // No yes, at once or late.
    assert_eq!(said(Some((0, None)), Some(0)), ("anew".into(), true));
    assert_eq!(said(Some((150, None)), Some(100)), ("anew".into(), true));
    // Silence.
    assert_eq!(said(None, Some(0)), ("anew".into(), true));
    // Late, and the new one later still.
    let (late, _) = said(Some((150, Some("again"))), None);
    assert_eq!(late, "again");
}
