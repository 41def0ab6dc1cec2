//! `${NAME}` and `${NAME:-default}` in targets: images without a shell have nobody else to do it.

use ready_probe_test_support::http::{HttpServer, Response};
use ready_probe_test_support::process::{Run, run};
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_said, row};
use crate::problems::{CONFIG, Problems, USAGE};

const HEALTHY: &str = "healthy: 1 check passes";

fn ask(container: &Container, target: &str, variables: &[(&str, &str)]) -> Run {
    let mut probe = container.probe([target]);
    run(probe.envs(variables.iter().copied()))
}

#[test]
fn targets_take_values_from_the_environment() {
    let redis = Redis::with(&["--requirepass", "p@ss:w/o#r?d%41 hUnTeR2"]);
    redis.command(&["SET", "k & #1", "v"]);
    let server = HttpServer::start(|request| {
        let is_asked = request.path == "/a%2Fb%20c?q=1%262"
            && request.header("x-token") == Some("a&b=hUnTeR2");
        Response::new(if is_asked { 200 } else { 418 }).body(r#"{"a":"b=c & d"}"#)
    });
    let port = redis.port().to_string();
    let http = server.url("");
    let authority = http.strip_prefix("http://").unwrap().trim_end_matches('/');
    let (host, http_port) = authority.split_once(':').unwrap();
    let container = Container::new();
    let file = container.file("a b#c&d=e", "x");
    let socket = redis.unix_socket();
    let url = format!("redis://:p%40ss%3Aw%2Fo%23r%3Fd%2541%20hUnTeR2@127.0.0.1:{port}");
    let variables = [
        ("CACHE_URL", url.as_str()),
        ("CACHE_WITH_KEY", &format!("{url}#key=k%20%26%20%231")),
        ("COMMAND", "exec:sh -c 'test $MIN = 1'"),
        ("HOST", "127.0.0.1"),
        ("PORT", port.as_str()),
        ("PASSWORD", "p@ss:w/o#r?d%41 hUnTeR2"),
        ("KEY", "k & #1"),
        ("HTTP_HOST", host),
        ("HTTP_PORT", http_port),
        ("SEGMENT", "a/b c"),
        ("QUERY", "1&2"),
        ("TOKEN", "a&b=hUnTeR2"),
        ("WANT", "b=c & d"),
        ("FILE", file.to_str().unwrap()),
        ("DIR", file.parent().unwrap().to_str().unwrap()),
        ("SOCKET", socket.to_str().unwrap()),
        ("LITERAL", "${HOST}"),
        ("EMPTY", ""),
        ("MIN", "1"),
    ];
    let table = [
        "redis://:${PASSWORD}@${HOST}:${PORT}#key=${KEY}",
        "redis://default:${PASSWORD}@${HOST:-no.such.invalid}:${PORT}/${DB:-0}",
        "redis://${NONE:-127.0.0.1}:${PORT}?password=${PASSWORD}",
        "redis://:${PASSWORD}@${HOST}:1,${HOST}:${PORT}",
        "redis+unix://${SOCKET}?password=${PASSWORD}",
        "${CACHE_URL}",
        " ${CACHE_URL} ",
        "${NONE:-file:/etc/passwd}",
        "${CACHE_URL}#optional",
        "${CACHE_URL}#key=${KEY}&timeout=5s",
        "${CACHE_WITH_KEY}#role=master",
        "${CACHE_WITH_KEY}",
        "${NONE:-tcp://127.0.0.1:1}#not",
        "${NONE:-tcp://127.0.0.1:1#name=x}#not",
        "${COMMAND}#name=${NONE:-x}",
        "tcp://${HOST}:${PORT}",
        "tcp://${EMPTY:-127.0.0.1}:${PORT}",
        "http://${HTTP_HOST}:${HTTP_PORT}/${SEGMENT}?q=${QUERY}#header=X-Token:${TOKEN}&json=/a=${WANT}",
        "file:${FILE}",
        "file:${DIR}/a b#c&d=e#contains=${NONE:-x}",
        "process:${NONE:-no-such-process}#not&min=${MIN}",
        // Not again in what came in, and only `${` is special.
        "process:${LITERAL}#not",
        "process:$${HOST} $HOME $#not",
        "exec:sh -c 'test \"${HOST}\" = 127.0.0.1'",
        "agent:${NONE:-a}#not&name=${NONE:-b}",
    ];
    for target in table {
        let said = ask(&container, target, &variables);
        assert_said(&said, 0, HEALTHY);
        assert!(!format!("{said:?}").contains("hUnTeR2"), "{said:?}");
    }
    let literal = ask(&container, "process:$${HOST}", &variables);
    assert_eq!(row(&literal, "process:${HOST}").0, "fail");
}

#[test]
fn options_behind_a_variable_that_is_the_target_hold_wherever_it_stands() {
    let container = Container::new();
    let toml = container.file(
        "probe.toml",
        "[[check]]\ntarget = '${CACHE}#name=cache'\noptional = true\n",
    );
    let ways = [
        container.probe(["${CACHE}#optional&name=cache"]),
        {
            let mut probe = container.probe([""; 0]);
            probe.env("READY_CHECKS", "'${CACHE}#optional&name=cache'");
            probe
        },
        {
            let mut probe = container.probe([""; 0]);
            probe.env("READY_CONFIG", toml);
            probe
        },
    ];
    for mut probe in ways {
        let said = run(probe
            .env("CACHE", "redis://:hUnTeR2@127.0.0.1:1#key=k")
            .env("READY_AGENT", "off"));
        assert_eq!(said.code(), 0, "{said:?}");
        assert_eq!(row(&said, "cache").0, "unknown", "{said:?}");
        assert!(said.stdout.contains("(optional)"), "{said:?}");
    }
}

#[test]
fn a_variable_that_is_not_set_is_named_wherever_the_target_stands() {
    let container = Container::new();
    let mut problems = Problems::default();
    for target in [
        "tcp://${DB_HOST}:1",
        "${DB_HOST}",
        "file:/${DB_HOST}",
        "http://h/#contains=${DB_HOST}",
        "${NONE:-redis://h}#key=${DB_HOST}",
    ] {
        for value in ["", "\r\n"] {
            let mut probe = container.probe([target]);
            let said = run(probe.env("DB_HOST", value));
            problems.one_line(&said, CONFIG, "DB_HOST (environment)", "not set");
        }
        let said = run(container
            .probe([""; 0])
            .env("READY_CHECKS", format!("'{target}'")));
        problems.one_line(&said, CONFIG, "DB_HOST (environment)", "not set");
        let toml = container.file("probe.toml", format!("[[check]]\ntarget = '{target}'\n"));
        let said = run(container.probe([""; 0]).env("READY_CONFIG", toml));
        problems.one_line(&said, CONFIG, "DB_HOST (environment)", "not set");
    }
    let toml = container.file(
        "probe.toml",
        "[[check]]\ntarget = 'http://h/'\ncontains = '${DB_HOST}'\n",
    );
    let said = run(container.probe([""; 0]).env("READY_CONFIG", toml));
    problems.one_line(&said, CONFIG, "DB_HOST (environment)", "not set");
    // The application's own variables are taken as they are.
    let said = run(container
        .probe([""; 0])
        .env("REDIS_URL", "redis://${DB_HOST}:1"));
    problems.one_line(
        &said,
        CONFIG,
        "REDIS_URL (environment)",
        "a host is letters",
    );
}

#[test]
fn what_is_no_variable_is_refused() {
    let container = Container::new();
    let mut problems = Problems::default();
    let variables = [
        ("URL", "redis://:hUnTeR2@h"),
        ("AUTHORITY", "h:hUnTeR2"),
        ("WORD", "hUnTeR2"),
        ("WITH_OPTIONS", "redis://:hUnTeR2@h#timeout=1s"),
        ("PAIR", "hUnTeR2:x"),
    ];
    for (target, what) in [
        ("tcp://${DB-HOST}:1", "${NAME}"),
        ("tcp://${}:1", "${NAME}"),
        ("tcp://${1A}:1", "${NAME}"),
        ("tcp://${WORD", "${NAME}"),
        ("tcp://${NONE:-${WORD}}:1", "default"),
        ("tcp://${NONE-hUnTeR2}:1", "${NAME}"),
        ("${WORD}://h", "scheme"),
        ("${URL}/0#timeout=1s", "scheme"),
        ("${URL}${WORD}#timeout=1s", "scheme"),
        ("${URL}#nonsense", "\"nonsense\" is no option of redis"),
        ("${URL}#${WORD}", "not an option of redis"),
        ("${URL}#key=%zz", "%25"),
        ("${URL:-hUnTeR2:x}#min", "redis"),
        (
            "${NONE:-hUnTeR2:x}#optional",
            "the value of ${NONE} is no target",
        ),
        (
            "${WITH_OPTIONS}#timeout=2s",
            "the option timeout is given twice",
        ),
        ("${WORD}#optional", "SCHEME:…"),
        ("tcp://${AUTHORITY}", "${AUTHORITY}"),
        ("redis://${AUTHORITY}", "a host is letters"),
        ("http://${AUTHORITY}/", "${AUTHORITY}"),
        ("tcp://h:${WORD}", "port"),
        ("http://h:${WORD}/", "port"),
        ("agent:${AUTHORITY}", "invalid name"),
        ("agent:a#${WORD}", "not an option of agent"),
        ("agent:a#min=${WORD}", "the option min"),
        ("${WORD}", "SCHEME:…"),
        ("${PAIR}", "SCHEME:…"),
    ] {
        let said = ask(&container, target, &variables);
        problems.one_line(&said, USAGE, "TARGET", what);
    }
}

#[test]
fn what_comes_from_a_variable_is_not_printed_unless_it_is_a_host_or_a_port() {
    let container = Container::new();
    let variables = [
        ("TOKEN", "hUnTeR2"),
        ("OTHER", "hUnTeR2"),
        ("URL", "redis://:hUnTeR2@localhost:1"),
        ("URL_OF_KEY", "redis://:hUnTeR2@localhost:1#key=k"),
        ("HOST", "localhost"),
        ("PORT", "1"),
    ];
    let labels = |said: &Run| said.stdout.lines().count();
    for (target, shown) in [
        (
            "http://${HOST}:${PORT}/${TOKEN}/x?${TOKEN}",
            "http://localhost:1/${TOKEN}/x?***",
        ),
        (
            "redis://${TOKEN}:${TOKEN}@${HOST}:${PORT}#key=${TOKEN}",
            "redis://***@localhost:1#key=${TOKEN}",
        ),
        (
            "http://${HOST}:${PORT}/#contains=${TOKEN}&not",
            "http://localhost:1/#contains=${TOKEN}&not",
        ),
        (
            "http://${HOST}:${PORT}/#json=/${TOKEN}=${TOKEN}",
            "http://localhost:1/#json=/${TOKEN}=${TOKEN}",
        ),
        ("file:/no/${TOKEN:-hUnTeR2}", "file:/no/${TOKEN}"),
        ("pid:/no/${TOKEN}", "pid:/no/${TOKEN}"),
        ("unix:///no/${TOKEN}", "unix:///no/${TOKEN}"),
        ("process:no ${TOKEN}", "process:no ${TOKEN}"),
        ("tcp://${HOST}:${PORT}#name=${HOST}", "localhost"),
        (
            "${URL}#key=${TOKEN}",
            "redis://***@localhost:1#key=${TOKEN}",
        ),
        ("${URL_OF_KEY}#optional", "redis://***@localhost:1#key=k"),
        (
            "${NONE:-http://u:hUnTeR2@localhost:1/}#header=X-T:${OTHER}",
            "http://***@localhost:1/#header=***",
        ),
        ("exec:sh -c 'echo $TOKEN ${TOKEN}; exit 1'", "exec:sh …"),
    ] {
        let mut probe = container.probe(["-v", target, "file:/no/${TOKEN}/x"]);
        let said = run(probe.envs(variables));
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(!all.contains("hUnTeR2"), "{said:?}");
        assert!(said.stdout.contains(shown), "{said:?}");
        let mut probe = container.probe(["config", "--format=json", target]);
        let said = run(probe.envs(variables));
        assert!(!said.stdout.contains("hUnTeR2"), "{said:?}");
    }
    let memory = std::fs::read_to_string(container.memory()).unwrap();
    assert!(!memory.contains("hUnTeR2"), "{memory}");
    // Two variables are two checks, whatever they hold.
    let mut probe = container.probe(["file:/no/${TOKEN}", "file:/no/${OTHER}", "file:/${TOKEN}"]);
    assert_eq!(labels(&run(probe.envs(variables))), 4);
}
