use super::*;

/// A message of one service, with this body.
pub fn letter(body: &str) -> Letter {
    Letter {
        title: "minio is down".to_owned(),
        body: body.to_owned(),
        priority: 5,
        tags: vec!["rotating_light".to_owned()],
        host: "web-1".to_owned(),
        facts: vec![Fact {
            service: "minio".to_owned(),
            event: Event::Failed,
            reason: "connection refused".to_owned(),
            time: "2026-11-28T03:00:00Z".to_owned(),
        }],
    }
}

/// Something to tell of one service.
pub fn item(event: Event, service: &str) -> Item {
    Item {
        event,
        services: vec![service.to_owned()],
        reason: "connection refused".to_owned(),
        hold: String::new(),
        attempts: 3,
        covers: Vec::new(),
        time: "2026-11-28T03:00:00Z".to_owned(),
    }
}

fn subjects() -> Subjects {
    let minio = Subject {
        container: Some("services".to_owned()),
        check: "http://localhost:9000/minio/health/live".to_owned(),
        restart: Some("/usr/local/bin/minio …".to_owned()),
        log: Some("tail -50 /var/log/minio.log".to_owned()),
        ..Subject::default()
    };
    [("minio".to_owned(), minio)].into()
}

#[test]
fn a_failure_says_what_happened_what_to_do_and_where_to_look() {
    let item = Item {
        covers: vec!["app".to_owned(), "web".to_owned()],
        ..item(Event::Failed, "minio")
    };
    let letter = Letter::write(&[item], &subjects(), "web-1", 0);
    assert_eq!(letter.title, "minio is down and given up");
    assert_eq!(
        letter.body,
        "Service: minio
Status: failed health check: connection refused
Recovery attempt: failed 3 times in a row, and it is given up
Host: web-1
Container: services
Waiting for it: app, web
Seen: 2026-11-28T03:00:00Z
Action required: manual intervention needed: its log says why it does not start

Health check: http://localhost:9000/minio/health/live
Restart command: /usr/local/bin/minio …

View logs: tail -50 /var/log/minio.log"
    );
    assert_eq!(letter.priority, 5);
    assert_eq!(letter.tags, ["rotating_light", "alert", "auto-recovery"]);
}

#[test]
fn each_event_has_its_priority_and_its_words() {
    for (event, priority, title) in [
        (Event::Failed, 5, "minio is down and given up"),
        (
            Event::RecoveryFailed,
            4,
            "minio does not come back: 3 restarts did not help",
        ),
        (Event::Flapping, 4, "minio fails again and again"),
        (
            Event::CannotTell,
            4,
            "minio can't be checked for 15 minutes",
        ),
        (Event::Held, 4, "minio is down and not restarted"),
        (Event::Recovered, 3, "minio works again"),
    ] {
        let letter = Letter::write(&[item(event, "minio")], &subjects(), "web-1", 0);
        assert_eq!((letter.priority, letter.title.as_str()), (priority, title));
        assert_eq!(
            letter.body.contains("View logs"),
            event != Event::Recovered,
            "{letter:?}"
        );
        assert_eq!(letter.facts.len(), 1);
    }
}

#[test]
fn several_are_one_message_with_the_gravest_first() {
    let items = [
        item(Event::Recovered, "redis"),
        item(Event::Failed, "minio"),
    ];
    let letter = Letter::write(&items, &subjects(), "web-1", 0);
    assert_eq!(letter.title, "2 services need a look: minio, redis");
    assert!(
        letter
            .body
            .starts_with("minio is down and given up\nredis works again\n\nService: minio\n"),
        "{letter:?}"
    );
    assert_eq!((letter.priority, letter.facts.len()), (5, 2));
    let items = [
        item(Event::Recovered, "redis"),
        item(Event::Recovered, "minio"),
    ];
    let letter = Letter::write(&items, &subjects(), "web-1", 0);
    assert_eq!(
        (letter.title.as_str(), letter.priority),
        ("2 services work again: redis, minio", 3)
    );
}

#[test]
fn services_that_fail_at_once_are_one_thing() {
    let services: Vec<String> = (0..24).map(|n| format!("agent-{n}")).collect();
    let storm = Item {
        services,
        hold: "several services fail at once".to_owned(),
        ..item(Event::Held, "")
    };
    let letter = Letter::write(&[storm], &subjects(), "web-1", 0);
    assert!(
        letter
            .title
            .starts_with("24 services fail at once: agent-0, agent-1"),
        "{letter:?}"
    );
    assert!(letter.title.ends_with("agent-9 and 14 more"), "{letter:?}");
    assert_eq!(letter.facts.len(), 24);
}

#[test]
fn what_did_not_arrive_is_told_in_the_next_message() {
    let letter = Letter::write(&[item(Event::Held, "minio")], &subjects(), "web-1", 2);
    assert!(
        letter
            .body
            .starts_with("2 earlier alerts could not be delivered"),
        "{letter:?}"
    );
}

#[test]
fn what_is_cut_is_whole_characters_and_lines() {
    for (text, max, want) in [
        ("short", 5, "short"),
        ("longer", 5, "lo…"),
        ("éé éé", 6, "é…"),
        ("one\ntwo\nthree", 12, "one\ntwo\n…"),
        ("a\nlonger line", 10, "a\nlonge…"),
    ] {
        let cut = cut(text, max);
        assert!(cut.len() <= max, "{cut}");
        assert_eq!(cut, want);
    }
}
