use super::*;
use crate::question::What;
use crate::recovery::{Contained, Recovery, Shell, Whose};

fn parse(text: &str, container: Option<&str>) -> Result<Services, String> {
    toml::parse(text, container, &Labelled::new())
}

fn target(text: &str) -> What {
    What::Target(text.to_owned())
}

/// One service with a check, and these keys.
fn with(keys: &str) -> String {
    format!("[[service]]\nname = \"x\"\ncheck = [\"process:x\"]\n{keys}\n")
}

#[test]
fn every_key_is_read() {
    let text = r#"
[keeper]
interval = "15s"
dry_run = true
container = "here"

[alert.ops]
kind = "ntfy"
url_file = "/run/secrets/ntfy"
topic = "alerts"
token_file = "/run/secrets/token"

[[service]]
name = "minio"
check = ["http://localhost:9000/minio/health/live", "process:minio server"]
timeout = "2s"
restart = "/usr/local/bin/minio server /data &"
stop = { process = "minio server", signal = "INT", wait = "20s" }
needs = ["redis", "tcp://db:5432"]
inhibit = ["file:/data/ready"]
hung_after = "90s"
startup = "2m"
startup_delay = "7s"
attempts = 4
max_restarts = 6
window = "2h"
give_up = "stop"
restart_on = ["not_ready"]
restart_with = ["redis"]
log = "/var/log/minio.log"
alert = ["ops"]

[[service]]
name = "redis"
check = "redis://localhost#scope=own"
"#;
    let services = parse(text, None).unwrap();
    let [minio, redis] = &services.all[..] else {
        panic!("{services:?}")
    };
    assert_eq!(services.order, [1, 0]);
    assert!(services.dry_run);
    assert_eq!(services.alerts["ops"].channel.name, "ops");
    assert_eq!(minio.alert, ["ops"]);
    assert_eq!(minio.log.as_deref(), Some("/var/log/minio.log"));
    let rules = Rules {
        interval_ms: 15_000,
        hung: crate::rules::Proof {
            times: 3,
            for_ms: 90_000,
        },
        startup_ms: 120_000,
        delay_ms: 7_000,
        attempts: 4,
        max_restarts: 6,
        window_ms: 7_200_000,
        give_up: GiveUp::Stop,
        // A minute, the delay, the startup, and until it has ended.
        command_ms: 207_000,
        needs: vec![1],
        restart_with: vec![1],
        ..Rules::of_loop()
    };
    assert_eq!(minio.rules, rules);
    let question = &minio.question;
    assert_eq!(question.checks.len(), 2);
    assert_eq!(question.needs, [target("tcp://db:5432")]);
    assert_eq!(question.inhibit, [target("file:/data/ready")]);
    assert!(question.no_counts && question.always);
    assert_eq!(question.timeout_ms, 2_000);
    let restart = minio.restart.as_ref().and_then(Recovery::script).unwrap();
    let stop = restart.stop.as_ref().unwrap();
    assert_eq!(stop.of, Whose::Pattern("minio server".to_owned()));
    assert_eq!((stop.signal, stop.wait_ms), (2, 20_000));
    assert_eq!(question.of.as_ref(), Some(&stop.of));
    assert_eq!(restart.shell, Shell::Sh);
    let watched = Rules {
        interval_ms: 15_000,
        command_ms: 125_000,
        restarts: false,
        ..Rules::of_loop()
    };
    assert_eq!(redis.rules, watched);
    assert_eq!(
        redis.question.checks,
        [target("redis://localhost#scope=own")]
    );
}

#[test]
fn the_settings_of_the_document_are_read() {
    let page = include_str!("../../../docs/keeper-settings.md");
    let blocks = page.split("```toml\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let services = parse(block, None).unwrap();
        assert!(!services.all.is_empty() && services.notes.is_empty());
    }
}

#[test]
fn what_is_in_another_container_is_left_alone() {
    let text = format!(
        "[keeper]\ncontainer = \"here\"\n{}container = \"there\"\nrestart = \"x\"\n{}",
        with(""),
        with("needs = [\"x\"]").replace("\"x\"\ncheck", "\"y\"\ncheck")
    );
    let services = parse(&text, None).unwrap();
    assert_eq!(services.all.len(), 1);
    assert_eq!(
        services.notes,
        [
            "x: not here, but in container \"there\"",
            "y: needs: x is in another container, and not waited for"
        ]
    );
}

#[test]
fn errors_say_where_and_what_is_expected() {
    let table = [
        ("= 1".to_owned(), "line 1: not TOML: "),
        (
            "[keepr]\n".to_owned(),
            "line 1: there is no key \"keepr\": is keeper meant?",
        ),
        (
            "service = 1\n".to_owned(),
            "line 1: service: each is written [[service]]",
        ),
        (
            "[keeper]\n\ninterval = 30\n".to_owned(),
            "line 3: [keeper]: interval: a time is expected, as \"30s\"",
        ),
        (
            "[[service]]\ncheck = [\"process:x\"]\n".to_owned(),
            "line 2: [[service]] 1: name: it is missing",
        ),
        (
            "[[service]]\nname = \"../x\"\n".to_owned(),
            "line 2: [[service]] 1: name: \"../x\": the name of a service is also that of a file",
        ),
        (
            "[[service]]\nname = \"x\"\n".to_owned(),
            "line 2: service x: check: it is missing",
        ),
        (
            with("restat = \"x\""),
            "line 4: service x: there is no key \"restat\": is restart meant?",
        ),
        (
            with("colour = 1"),
            "line 4: service x: there is no key \"colour\": there are name, check",
        ),
        (
            with("restart = 7"),
            "line 4: service x: restart: a text that is not empty",
        ),
        (
            with("attempts = 0"),
            "line 4: service x: attempts: a number from 1 to 100",
        ),
        (
            with("give_up = \"never\""),
            "line 4: service x: give_up: it is slow, stop or exit",
        ),
        (
            with("restart_on = [\"starting\"]"),
            "line 4: service x: restart_on: not_ready is all",
        ),
        (
            with("needs = [\"z\"]"),
            "line 4: service x: needs: there is no service \"z\"",
        ),
        (
            with("needs = [\"x\"]"),
            "needs, restart_with: these wait for one another in a circle",
        ),
        (
            with("restart_with = [\"x\"]"),
            "needs, restart_with: these wait for one another",
        ),
        (
            with("alert = [\"ops\"]"),
            "line 4: service x: alert: there is no [alert.\"ops\"]",
        ),
        (
            with("inhibit = [\"nonsense\"]"),
            "line 4: service x: inhibit: \"nonsense\" is neither",
        ),
        (
            with("needs = [\"smtp://x\"]"),
            "line 4: service x: needs: \"smtp:\" is no kind of target",
        ),
        (
            with("stop = { process = \"x\" }"),
            "line 4: service x: stop: it ends what restart",
        ),
        (
            with("restart = \"x\"\nstop = { proces = \"x\" }"),
            "line 5: service x: stop: there is no key \"proces\": is process meant?",
        ),
        (
            with("restart = \"x\"\nstop = { process = \"x\", signal = \"STOP\" }"),
            "line 5: service x: stop: signal: it is one of TERM, INT",
        ),
        (
            with("restart = \"x\"\nstop = { process = \"x\", pidfile = \"/x\" }"),
            "line 5: service x: stop: pidfile: it stands beside process",
        ),
        (
            with("window = \"30s\""),
            "line 4: service x: window: 5 restarts take 2m28s at least, so that a window of 30s never holds them",
        ),
        (
            with("container = \"x/y\""),
            "line 4: service x: container: \"x/y\" is no name of a container",
        ),
        (
            with("container = \"x\"\nrestart = \"y\"\nrestart_exited = true"),
            "line 6: service x: restart_exited: it is about a container that its engine restarts",
        ),
        (
            with("container = \"x\"\nstop = { wait = \"1s\" }"),
            "line 5: service x: stop: it ends what restart",
        ),
        (
            "[keeper]\nengine = \"ssh://x\"\n".to_owned(),
            "line 2: [keeper]: engine: an engine is at unix:///PATH or tcp://HOST:PORT",
        ),
        (
            with("label = \"x=y\""),
            "line 2: [[service]] 1: name: it stands beside label",
        ),
        (
            "[[service]]\nlabel = \"x\"\n".to_owned(),
            "line 2: [[service]] 1: label: a label with its value is expected",
        ),
        (
            "[[service]]\nlabel = \"x=y\"\nattempts = 0\n".to_owned(),
            "line 3: label x=y: attempts: a number from 1",
        ),
        (
            format!("{}{}", with(""), with("")),
            "line 6: service x: name: another service has the same name",
        ),
        (
            with("").replace("process:x", "process:x#optional"),
            "line 3: service x: check: process:x decides nothing",
        ),
        (
            with("").replace("process:x", "redis://localhost"),
            "line 3: service x: check: all of it is about others",
        ),
        (
            with("").replace("process:x", "process:x#grace=5s"),
            "line 3: service x: check: grace means nothing here",
        ),
        (
            with("").replace("process:x", "peer:x"),
            "line 3: service x: check: peer: ready-keeper restarts what is here",
        ),
    ];
    for (text, want) in table {
        let said = parse(&text, None).unwrap_err();
        assert!(said.starts_with(want), "{text}: {said}");
    }
}

#[test]
fn a_container_without_a_command_is_what_its_engine_restarts() {
    let text = "[keeper]\ncontainer = \"here\"\nengine = \"tcp://proxy:2375\"\n\
        [[service]]\nname = \"db\"\ncontainer = \"shop-db-1\"\nrestart_exited = true\n\
        [[service]]\nname = \"x\"\ncontainer = \"web\"\ncheck = [\"http://web/#scope=own\"]\n";
    let services = parse(text, None).unwrap();
    let [db, web] = &services.all[..] else {
        panic!("{services:?}")
    };
    let contained = |name: &str, restart_exited| Contained {
        engine: "tcp://proxy:2375".to_owned(),
        name: name.to_owned(),
        restart_exited,
    };
    let db_is = contained("shop-db-1", true);
    assert_eq!(db.question.container.as_ref(), Some(&db_is));
    assert_eq!(db.restart, Some(Recovery::Container(db_is)));
    assert!(db.rules.restarts && db.question.checks.is_empty());
    assert_eq!(web.question.container, Some(contained("web", false)));
    assert_eq!(web.question.checks.len(), 1);
    let engine = services.engine.unwrap();
    assert_eq!(
        (engine.at.as_str(), engine.every_ms),
        ("tcp://proxy:2375", 30_000)
    );
    assert!(engine.labels.is_empty());
    // A command is run here, and asks no engine.
    let command = parse(&with("container = \"x\"\nrestart = \"y\""), None).unwrap();
    assert!(command.engine.is_none() && command.all[0].question.container.is_none());
}

#[test]
fn each_container_with_the_label_is_a_service() {
    let text = "[keeper]\nengine = \"/run/docker.sock\"\n\
        [[service]]\nlabel = \"ready-keeper=true\"\nstartup = \"20m\"\n\
        [[service]]\nname = \"db\"\ncontainer = \"shop-db-1\"\n";
    let label = "ready-keeper=true".to_owned();
    let found = ["shop-db-1", "web", "db", "web-2"].map(str::to_owned);
    let labelled = Labelled::from([(label.clone(), found.into())]);
    let services = toml::parse(text, None, &labelled).unwrap();
    let all = services.all.iter().map(|service| {
        let container = service.question.container.as_ref().unwrap();
        (
            service.name.as_str(),
            container.name.as_str(),
            service.rules.startup_ms,
        )
    });
    // One that is not there is not waited for; it may come.
    let names_others = format!("{text}needs = [\"web\", \"x\"]\n");
    let others = toml::parse(&names_others, None, &labelled).unwrap();
    assert_eq!(others.all[0].rules.needs, [1]);
    assert_eq!(
        others.notes,
        [
            "label ready-keeper=true: not looked after: another service is called db",
            "db: needs: there is no service \"x\", and it is not waited for until a container with the label is called so"
        ]
    );
    assert!(toml::parse(&names_others, None, &Labelled::new()).is_ok());
    // Whoever is named has settings of its own.
    assert_eq!(
        Vec::from_iter(all),
        [
            ("db", "shop-db-1", 60_000),
            ("web", "web", 1_200_000),
            ("web-2", "web-2", 1_200_000)
        ]
    );
    assert_eq!(services.engine.unwrap().labels, [label].into());
    assert_eq!(services.notes, others.notes[..1]);
    assert_eq!(parse(text, None).unwrap().all.len(), 1);
}

#[test]
fn services_with_commands_are_in_the_container_that_is_named_or_all_in_the_same() {
    let service = |name: &str, container: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\ncheck = [\"process:x\"]\nrestart = \"x\"\ncontainer = \"{container}\"\n"
        )
    };
    let several = service("a", "one") + &service("b", "two");
    let why = parse(&several, None).unwrap_err();
    assert!(
        why.contains("several containers") && why.contains("--container is one of"),
        "{why}"
    );
    assert_eq!(parse(&several, Some("two")).unwrap().all.len(), 1);
    let same = parse(&(service("a", "one") + &service("b", "one")), None).unwrap();
    assert_eq!(same.all.len(), 2);
    assert!(same.notes[0].contains("taken for container"), "{same:?}");
}
