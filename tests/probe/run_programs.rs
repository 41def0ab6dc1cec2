//! `ready-probe run` with real programs, as docs/run.md has them, and what a store hears of them.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use ready_probe_test_support::process::{
    Guard, Signal, example_agent, free_port, probe_binary, run, wait_until, workspace_root,
};
use ready_probe_test_support::servers::Redis;
use serde_json::Value;

use crate::container::Container;
use crate::speaker::{HEED, LIMIT, PYTHON, Speaker, records, wait_for};

const READY: &str = "healthy: 1 check passes";

/// A recipe of docs/run.md, with what has to be another one here.
fn recipe(part: &str, changes: &[(&str, &str)]) -> String {
    let page = std::fs::read_to_string(workspace_root().join("docs/run.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1);
    let mut recipes = blocks.map(|block| block.split("```").next().unwrap().to_owned());
    let recipe = recipes.find(|recipe| recipe.contains(part));
    let mut recipe = recipe.unwrap_or_else(|| panic!("no recipe with {part:?} in docs/run.md"));
    for (from, to) in changes {
        assert!(recipe.contains(from), "{from:?} in {recipe}");
        recipe = recipe.replace(from, to);
    }
    recipe
}

/// Runs it, in a container whose agent is called `worker` here.
fn start(container: &Container, recipe: &str) -> Guard {
    let bin = container.path("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(probe_binary(), bin.join("ready-probe")).unwrap();
    let mut shell = Command::new("env");
    shell
        .args([HEED, "sh", "-euc", &format!("exec {recipe}")])
        .env_clear()
        .env("PATH", format!("{}:/usr/sbin:/usr/bin:/bin", bin.display()))
        .env("READY_DIR", container.ready_dir())
        .current_dir(container.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Guard::spawn(&mut shell)
}

/// Ends it, and waits until it has gone with all that belongs to it.
fn stop(mut guard: Guard) {
    guard.signal(Signal::TERM);
    guard.wait_within(LIMIT);
}

#[test]
fn redis_says_itself_when_it_has_loaded() {
    let container = Container::new();
    let port = free_port().to_string();
    let recipe = recipe(
        "supervised systemd",
        &[("run cache", "run worker"), ("6379", &port)],
    );
    let guard = start(&container, &recipe);
    wait_for(&container, READY);
    let said = container.run([format!("redis://127.0.0.1:{port}")]);
    assert_eq!(said.code(), 0, "{said:?}");
    stop(guard);
    assert!(records(&container).is_empty());
}

#[test]
fn a_server_is_ready_while_it_answers() {
    let container = Container::new();
    let (port, monitor) = (free_port().to_string(), free_port().to_string());
    let recipe = recipe(
        "nats-server",
        &[
            ("run broker", "run worker"),
            ("4222", &port),
            ("8222", &monitor),
            ("10s", "200ms"),
        ],
    );
    let mut guard = start(&container, &format!("env READY_TIMEOUT=300ms {recipe}"));
    wait_for(&container, READY);
    let child = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", guard.pid()));
    let server: u32 = child.unwrap().trim().parse().unwrap();
    crate::speaker::signal(server, Signal::STOP);
    wait_until(LIMIT, "it to be missed", || {
        let said = container.ask("agent:worker");
        said.first_line()
            .contains("worker: not_ready: ")
            .then_some(())
    });
    crate::speaker::signal(server, Signal::CONT);
    wait_for(&container, READY);
    // An answer that is missing is no reason to restart: it is not ready, and lives.
    assert_eq!(guard.ended(), None);
    stop(guard);
}

#[test]
fn nginx_is_ready_while_it_answers_and_its_workers_go_with_it() {
    assert!(
        std::path::Path::new("/usr/sbin/nginx").exists(),
        "nginx is missing: `apt-get install nginx-light` installs it"
    );
    let container = Container::new();
    let port = free_port();
    let folder = container.path("").display().to_string();
    let config = container.file(
        "nginx.conf",
        format!(
            "pid {folder}nginx.pid; error_log stderr; worker_processes 2; events {{}}\n\
             http {{ access_log off; server {{ listen 127.0.0.1:{port}; return 200; }} }}"
        ),
    );
    let (url, command) = (
        format!("http://127.0.0.1:{port}/"),
        format!("nginx -c {}", config.display()),
    );
    let recipe = recipe(
        "daemon off;",
        &[
            ("run web", "run worker"),
            ("http://127.0.0.1:80/", &url),
            ("nginx", &command),
        ],
    );
    let mut guard = start(&container, &recipe);
    wait_for(&container, READY);
    guard.signal(Signal::QUIT);
    // It drains, and ends well.
    assert_eq!(guard.wait_within(LIMIT).code(), Some(0));
    assert!(records(&container).is_empty());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn every_recipe_of_the_page_is_run_here() {
    let page = std::fs::read_to_string(workspace_root().join("docs/run.md")).unwrap();
    let run = [
        "supervised systemd",
        "nats-server",
        "daemon off;",
        "--ready-line",
        "service.py",
    ];
    for block in page.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap();
        assert!(
            run.iter().any(|part| block.contains(part)),
            "untested: {block}"
        );
    }
}

#[test]
fn a_script_is_ready_by_a_line_of_its_output() {
    let container = Container::new();
    let script = "echo loading; echo 'Model loaded in 2 s'; exec sleep 1000";
    container.file("serve.sh", script);
    let recipe = recipe("--ready-line", &[("run model", "run worker")]);
    let guard = start(&container, &recipe);
    wait_for(&container, READY);
    stop(guard);
}

#[test]
fn a_python_program_says_ready_in_three_lines() {
    let container = Container::new();
    let page = std::fs::read_to_string(workspace_root().join("docs/run.md")).unwrap();
    let snippet = page
        .split("```python\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    container.file(
        "service.py",
        format!("{snippet}\nimport time\ntime.sleep(1000)\n"),
    );
    let recipe = recipe(
        "service.py",
        &[("run service", "run worker"), ("python", PYTHON)],
    );
    let guard = start(&container, &recipe);
    wait_for(&container, READY);
    stop(guard);
}

/// What the store holds of agent `worker`.
fn announced(redis: &Redis) -> Option<Value> {
    let keys = redis.command(&["KEYS", "ready:default:{worker}:*"]);
    let key = keys.lines().next()?;
    assert_eq!(keys.lines().count(), 1, "{keys}");
    serde_json::from_str(&redis.command(&["GET", key])).ok()
}

fn with_store(redis: &Redis) -> Speaker {
    let url = redis.url();
    Speaker::start_with(&["--ttl=10s"], |command| {
        command.env("READY_STORE", url);
    })
}

#[track_caller]
fn wait_announced(redis: &Redis, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_until(LIMIT, what, || announced(redis).filter(&wanted))
}

#[test]
fn others_hear_of_it_and_of_its_end() {
    let redis = Redis::start();
    let mut program = with_store(&redis);
    wait_announced(&redis, "it to be announced", |record| {
        record["state"] == "starting"
    });
    program.does("say('READY=1')");
    let record = wait_announced(&redis, "it to be ready", |record| {
        record["state"] == "ready"
    });
    assert_eq!(record["ttl_ms"], 10_000);
    let asks = |target: &str| {
        run(program
            .container
            .probe([target])
            .env("READY_STORE", redis.url()))
    };
    assert_eq!(asks("peer:worker").first_line(), READY);
    wait_until(LIMIT, "this container to be told", || {
        (program.record()["announced"]["ok"] == true).then_some(())
    });
    program.ends();
    assert_eq!(program.code(), Some(0));
    wait_until(LIMIT, "it to be taken back", || {
        announced(&redis).is_none().then_some(())
    });
}

#[test]
fn others_hear_of_a_crash_until_its_ttl_is_over() {
    let redis = Redis::start();
    let mut program = with_store(&redis);
    program.does("say('READY=1')");
    wait_announced(&redis, "it to be ready", |record| {
        record["state"] == "ready"
    });
    program.does("os.kill(os.getpid(), signal.SIGKILL)");
    assert_eq!(program.code(), Some(137));
    let record = wait_announced(&redis, "the crash to be announced", |record| {
        record["state"] == "stopping"
    });
    assert_eq!(record["reason"], "killed by SIGKILL");
}

#[test]
fn a_store_that_was_away_hears_of_the_last_owner_only() {
    let mut redis = Redis::start();
    let mut program = with_store(&redis);
    program.does("say('READY=1')");
    let own: u32 = program.tells("tell(os.getpid())").parse().unwrap();
    wait_announced(&redis, "it to be ready", |record| record["pid"] == own);
    redis.pause();
    program.does("child = fork('')");
    program.does("say(f'MAINPID={child}')");
    let child: u32 = program.tells("tell(child)").parse().unwrap();
    let moved = |pid: u32| {
        wait_until(LIMIT, "the signal to move", || {
            (program.record()["pid"] == pid).then_some(())
        });
    };
    moved(child);
    redis.kill();
    program.does(&format!("say('MAINPID={own}')"));
    let moved = |pid: u32| {
        wait_until(LIMIT, "the signal to move", || {
            (program.record()["pid"] == pid).then_some(())
        });
    };
    moved(own);
    redis.restart();
    wait_announced(&redis, "it to be told again", |record| record["pid"] == own);
    for _ in 0..200 {
        let record = announced(&redis).unwrap();
        assert_eq!(
            (&record["pid"], &record["state"]),
            (&own.into(), &"ready".into())
        );
    }
}

#[test]
fn a_program_that_publishes_itself_is_left_to_do_so() {
    let redis = Redis::start();
    let container = Container::new();
    let agent = example_agent();
    let stderr = std::fs::File::create(container.path("stderr")).unwrap();
    let mut command = container.probe(["run", "translator", "--ready-line=:", "--"]);
    command
        .arg(agent)
        .env("READY_STORE", redis.url())
        .env("AGENT_PORT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr);
    let mut guard = Guard::spawn(&mut command);
    let said = || std::fs::read_to_string(container.path("stderr")).unwrap();
    wait_until(LIMIT, "run to give way", || {
        said()
            .contains("publishes this agent itself: its word counts from now on")
            .then_some(())
    });
    wait_until(LIMIT, "the agent to be ready", || {
        (container.ask("agent:translator").first_line() == READY).then_some(())
    });
    let files = || {
        std::fs::read_dir(container.ready_dir().join("translator"))
            .unwrap()
            .count()
    };
    wait_until(LIMIT, "one record to be left", || {
        (files() == 1).then_some(())
    });
    let instances = || {
        redis
            .command(&["KEYS", "ready:default:{translator}:*"])
            .lines()
            .count()
    };
    wait_until(LIMIT, "one instance to be announced", || {
        (instances() == 1).then_some(())
    });
    assert_eq!(said().matches("publishes this agent itself").count(), 1);
    guard.signal(Signal::TERM);
    guard.wait_within(LIMIT);
}
