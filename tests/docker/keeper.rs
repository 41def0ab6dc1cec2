//! `examples/keeper`, brought up as its user does: supervisord under an init, `ready-keeper` as one of its programs, and the
//! probe as health check. Each way to fail prints for how long the web server did not answer.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use ready_probe_test_support::{
    docker::{Compose, Container, Engine},
    process::{keeper_binary, probe_binary, wait_until, workspace_root},
};

/// Far above what anything here takes, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);
/// What stands in for `python:3.12-slim`, with supervisor at hand.
const IMAGE: &str = "ready-probe-test/python-supervisor:local";
const FILES: [&str; 6] = [
    "Dockerfile",
    "compose.yml",
    "requirements.txt",
    "services.toml",
    "supervisord.conf",
    "web.py",
];

fn example() -> PathBuf {
    workspace_root().join("examples/keeper")
}

fn project() -> Compose {
    let engine = Engine::shared();
    engine.python_image(IMAGE, &example().join("requirements.txt"));
    // A copy, where the programs of this build can be put beside the Dockerfile.
    let context = tempfile::tempdir().unwrap();
    let sources = FILES.map(|file| example().join(file));
    for file in sources.into_iter().chain([probe_binary(), keeper_binary()]) {
        fs::copy(&file, context.path().join(file.file_name().unwrap())).unwrap();
    }
    let project = |file: PathBuf| {
        Compose::new(engine, &file, "keeper")
            .env("PYTHON_IMAGE", IMAGE)
            .env("COMPOSE_DOCKER_CLI_BUILD", "1")
    };
    let built = project(context.path().join("compose.yml")).run(&["build"]);
    assert_eq!(built.code(), 0, "{built:?}");
    project(example().join("compose.yml"))
}

/// Its address, while it runs.
fn address(container: &Container) -> Option<IpAddr> {
    let inspected = container.inspect();
    let networks = inspected["NetworkSettings"]["Networks"].as_object()?;
    let network = networks.values().next()?;
    network["IPAddress"].as_str()?.parse().ok()
}

fn answers(ip: IpAddr) -> bool {
    let ask = || {
        let at = SocketAddr::new(ip, 8000);
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        std::io::Result::Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Runs a command in the container, and prints how long the server is away then.
fn outage(container: &Container, what: &str, command: &str) {
    let ip = address(container).unwrap();
    let done = container.exec(&["sh", "-c", command]);
    assert_eq!(done.code(), 0, "{done:?}");
    let from = wait_until(LIMIT, "an outage", || {
        sleep(Duration::from_millis(20));
        (!answers(ip)).then(Instant::now)
    });
    wait_until(LIMIT, &format!("the end of the outage: {what}"), || {
        sleep(Duration::from_millis(50));
        address(container).filter(|ip| answers(*ip))
    });
    println!("downtime: {what}: {:.1} s", from.elapsed().as_secs_f32());
}

fn wait_for_log(container: &Container, text: &str) {
    wait_until(LIMIT, &format!("{text:?} in the log"), || {
        sleep(Duration::from_millis(200));
        container.logs().contains(text).then_some(())
    });
}

#[test]
fn what_hangs_is_restarted_and_a_container_that_ends_or_is_ended_comes_back() {
    let project = project();
    project.up();
    let app = project.service("app");
    let restarts = || app.inspect()["RestartCount"].as_u64().unwrap();
    let health = app.wait_health("healthy", LIMIT);
    let said = &health.log.last().unwrap().output;
    for target in [
        "agent:ready-keeper",
        "supervisor:web",
        "http://localhost:8000/",
    ] {
        assert!(said.contains(&format!(" pass     {target}")), "{said}");
    }
    wait_for_log(&app, "Health check passed for web");

    outage(
        &app,
        "a program hangs",
        "kill -STOP $(supervisorctl pid web)",
    );
    wait_for_log(&app, "Successfully recovered web");

    // What an init reaps is no zombie, and what a program does not reap is told.
    let orphans = app.exec(&["sh", "-c", "for i in $(seq 30); do (true &) ; done"]);
    assert_eq!(orphans.code(), 0, "{orphans:?}");
    wait_until(LIMIT, "orphans to be reaped", || {
        (app.exec(&[
            "ready-probe",
            "--agent",
            "off",
            "zombies:#max=1&optional=false",
        ])
        .code()
            == 0)
            .then_some(())
    });
    let careless =
        "import os, time\nfor _ in range(30):\n    os.fork() or os._exit(0)\ntime.sleep(1000)";
    app.exec_with(&["--detach"], &["python", "-c", careless]);
    wait_for_log(
        &app,
        "Health check failed for zombies: 30 zombies (limit 20)",
    );
    assert_eq!(restarts(), 0);

    outage(
        &app,
        "supervisord, and with it the container, is killed",
        "kill -9 $(cat /run/supervisord.pid)",
    );
    assert_eq!(restarts(), 1);
    app.wait_health("healthy", LIMIT);

    // The program works on for as long as nobody acts.
    outage(
        &app,
        "supervisord hangs, and the container is ended",
        "kill -STOP $(cat /run/supervisord.pid)",
    );
    assert_eq!(restarts(), 2, "{}", app.logs());
    assert!(
        app.logs()
            .contains("supervisord: process 1 is asked to end"),
        "{}",
        app.logs()
    );
    app.wait_health("healthy", LIMIT);
}
