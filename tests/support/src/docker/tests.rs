//! The harness against a real engine.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use super::*;
use crate::process::{run, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// Sleeps for ever; `check` says whether /tmp/ready exists, `touch` and `remove` make it so; `ping
/// HOST` asks a Redis server there.
const SUBJECT: &str = r#"
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "touch")) return !fopen("/tmp/ready", "w");
    if (!strcmp(verb, "remove")) return unlink("/tmp/ready");
    if (!strcmp(verb, "check")) {
        int missing = access("/tmp/ready", F_OK);
        puts(missing ? "not yet" : "ready");
        return missing != 0;
    }
    if (!strcmp(verb, "ping")) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
        char answer[64] = "";
        int error = getaddrinfo(argv[2], "6379", &hints, &found);
        if (error) return puts(gai_strerror(error)), 1;
        int fd = socket(found->ai_family, SOCK_STREAM, 0);
        if (connect(fd, found->ai_addr, found->ai_addrlen)) return perror("connect"), 1;
        if (write(fd, "PING\r\n", 6) != 6 || read(fd, answer, 63) <= 0) return perror("ping"), 1;
        fputs(answer, stdout);
        return 0;
    }
    puts("started");
    fflush(stdout);
    for (;;) pause();
}
"#;

/// The static program of these tests, as the image `ready-probe-test/subject`.
fn subject() -> &'static str {
    static IMAGE: OnceLock<()> = OnceLock::new();
    let tag = "ready-probe-test/subject";
    IMAGE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("subject.c"), folder.path().join("subject"));
        fs::write(&source, SUBJECT).unwrap();
        let built = run(Command::new("cc").args(["-static", "-Os", "-w", "-o"]).arg(&program).arg(&source));
        assert_eq!(built.code(), 0, "{}", built.stderr);
        let root = ImageRoot::new().file(&program, "/subject").folder("/tmp", 0o1777);
        let instructions = "HEALTHCHECK --interval=200ms --timeout=5s --retries=2 CMD [\"/subject\", \"check\"]\n\
                            ENTRYPOINT [\"/subject\"]";
        Engine::shared().build_scratch(tag, &root, instructions);
    });
    tag
}

fn image_id(tag: &str) -> String {
    Engine::shared().docker(["image", "inspect", "--format", "{{.Id}}", tag])
}

#[test]
fn same_files_are_imported_once() {
    let engine = Engine::shared();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let tag = engine.unique_name("import");
    let import = |text: &str| {
        fs::write(&file, text).unwrap();
        engine.import_scratch_root(&tag, &[(&file, "/etc/file")]);
        image_id(&tag)
    };
    let first = import("one");
    assert_eq!(import("one"), first);
    assert_ne!(import("two"), first);
    engine.docker(["rmi", &tag]);
}

#[test]
fn health_follows_the_probe() {
    let container = Engine::shared().run(
        RunOptions::image(subject())
            .read_only()
            .tmpfs("/tmp")
            .cap_drop("ALL"),
    );
    let health = container.wait_health("unhealthy", LIMIT);
    assert!(health.failing_streak >= 2, "{health:?}");
    let last = health.log.last().unwrap();
    assert_eq!((last.exit_code, last.output.as_str()), (1, "not yet\n"));
    assert!(last.elapsed() < Duration::from_secs(5), "{last:?}");

    assert_eq!(container.exec(&["/subject", "touch"]).code(), 0);
    assert_eq!(container.wait_health("healthy", LIMIT).failing_streak, 0);
    assert_eq!(container.wait_next_probe(LIMIT).output, "ready\n");

    assert_eq!(container.exec(&["/subject", "remove"]).code(), 0);
    assert_eq!(container.wait_next_probe(LIMIT).exit_code, 1);
    container.wait_health("unhealthy", LIMIT);
    assert_eq!(container.exec(&["/subject", "check"]).stdout, "not yet\n");
}

#[test]
#[should_panic(expected = "not yet")]
fn vain_wait_quotes_the_last_probes() {
    let container = Engine::shared().run(RunOptions::image(subject()));
    container.wait_next_probe(LIMIT);
    container.wait_health("healthy", Duration::from_millis(100));
}

#[test]
fn restarted_container_has_another_pid_1() {
    let container = Engine::shared().run(RunOptions::image(subject()).no_healthcheck().init());
    assert_eq!(container.health().status, "none");
    let pids = wait_until(LIMIT, "init to have started the program", || {
        Some(container.pids()).filter(|pids| pids.len() == 2)
    });
    assert!(pids.contains(&container.host_pid()));
    container.restart();
    assert!(!pids.contains(&container.host_pid()));
    wait_until(LIMIT, "both lives to be logged", || {
        (container.logs() == "started\nstarted\n").then_some(())
    });
    container.stop();
    assert_eq!(container.status(), "exited");
    container.start();
    container.kill("KILL");
    assert_eq!(container.wait_exit(LIMIT), 137);
}

#[test]
fn unpaused_container_is_probed_again() {
    let container = Engine::shared().run(RunOptions::image(subject()));
    container.wait_next_probe(LIMIT);
    container.pause();
    assert_eq!(container.status(), "paused");
    container.unpause();
    container.wait_next_probe(LIMIT);
}

#[test]
fn files_volumes_and_environment_reach_the_container() {
    let engine = Engine::shared();
    let volume = Volume::create(engine, "data");
    engine.server_image("ready-probe-test/redis:sh");
    let sh = |script: &str| {
        let options = RunOptions::image("ready-probe-test/redis:sh")
            .volume(&volume, "/data")
            .env("WORD", "a b");
        engine.run_to_end(
            options
                .user("999")
                .hostname("here")
                .command(["sh", "-c", script]),
        )
    };
    let written = sh("echo \"$WORD\" >/data/word");
    assert_eq!(written.code(), 0, "{}", written.stderr);
    let read = sh("read -r word </data/word && echo \"$word\" && exit 7");
    assert_eq!((read.code(), read.stdout.as_str()), (7, "a b\n"));

    let container = engine.run(RunOptions::image(subject()));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ready"), "").unwrap();
    container.copy_in(&folder.path().join("ready"), "/tmp/ready");
    container.wait_health("healthy", LIMIT);
}

/// Asks until the server answers: a container that runs need not listen yet.
fn ping(redis: IpAddr) -> String {
    let asked = wait_for(LIMIT, || {
        let mut stream = TcpStream::connect((redis, 6379)).ok()?;
        stream.write_all(b"PING\r\n").ok()?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    });
    asked.unwrap_or_else(|| panic!("{redis} does not answer"))
}

#[test]
fn containers_find_each_other_by_name() {
    let engine = Engine::shared();
    let network = Network::create(engine, "net");
    engine.server_image("redis:7");
    let redis = engine.run(
        RunOptions::image("redis:7")
            .network(&network, "redis")
            .command(["--save", ""]),
    );
    assert_eq!(redis.ip(), redis.ip_in(&network));
    assert_eq!(ping(redis.ip()), "+PONG\r\n");

    let client = engine.run(RunOptions::image(subject()).network(&network, "client"));
    let answer = client.exec(&["/subject", "ping", "redis"]);
    assert_eq!(answer.stdout, "+PONG\r\n", "{answer:?}");

    network.disconnect(&redis);
    assert_ne!(client.exec(&["/subject", "ping", "redis"]).code(), 0);
    network.connect(&redis, "cache");
    assert_eq!(
        client.exec(&["/subject", "ping", "cache"]).stdout,
        "+PONG\r\n"
    );
}

#[test]
fn nats_image_greets() {
    let engine = Engine::shared();
    engine.server_image("nats:2");
    let nats = engine.run(RunOptions::image("nats:2"));
    let greeting = wait_for(LIMIT, || {
        let mut greeting = [0; 5];
        TcpStream::connect((nats.ip(), 4222))
            .ok()?
            .read_exact(&mut greeting)
            .ok()?;
        Some(greeting)
    });
    assert_eq!(greeting.as_ref(), Some(b"INFO "), "{}", nats.logs());
}

fn compose_file(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let file = folder.path().join("compose.yml");
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn compose_waits_for_healthy_dependencies() {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let folder = tempfile::tempdir().unwrap();
    let file = compose_file(
        &folder,
        &format!(
            "
services:
  redis:
    image: redis:7
    command: [\"--save\", \"\"]
  agent:
    image: {}
    command: [\"$WORD\"]
    depends_on: [redis]
    healthcheck:
      test: [\"CMD\", \"/subject\", \"ping\", \"redis\"]
      interval: 200ms
      retries: 50
  after:
    image: {}
    depends_on:
      agent: {{ condition: service_healthy }}
",
            subject(),
            subject()
        ),
    );
    let project = Compose::new(engine, &file, "fleet").env("WORD", "stay");
    project.up();
    assert_eq!(project.health("agent").status, "healthy");
    assert_eq!(project.ps().len(), 3);
    assert_eq!(project.service("agent").inspect()["Args"][0], "stay");
    assert_eq!(ping(project.service("redis").ip()), "+PONG\r\n");
    let network = project.services("redis")[0].inspect()["NetworkSettings"]["Networks"].to_string();
    let name = project.name().to_owned();
    assert!(network.contains(&name), "{network}");
    drop(project);
    for list in [
        ["ps", "--all", "--format={{.Names}}"].as_slice(),
        &["network", "ls", "--format={{.Name}}"],
    ] {
        let left = engine.docker(list);
        assert!(!left.contains(&name), "{left}");
    }
}

#[test]
fn compose_fails_when_a_dependency_stays_unhealthy() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "
services:
  agent: {{ image: {0} }}
  after:
    image: {0}
    depends_on:
      agent: {{ condition: service_healthy }}
",
        subject()
    );
    let project = Compose::new(Engine::shared(), &compose_file(&folder, &text), "sick");
    assert_ne!(project.try_up().code(), 0);
    assert_eq!(project.health("agent").status, "unhealthy");
}

#[test]
fn debian_image_runs_what_is_installed_here() {
    let engine = Engine::shared();
    let tag = "ready-probe-test/debian";
    engine.debian_image(
        tag,
        &["base-files", "base-passwd", "coreutils", "dash"],
        &["USER nobody"],
    );
    let said = engine.run_to_end(RunOptions::image(tag).command([
        "sh",
        "-c",
        "id --user --name && ls -d /tmp",
    ]));
    assert_eq!(said.stdout, "nobody\n/tmp\n", "{said:?}");
}

#[test]
fn rust_is_built_without_a_network() {
    let engine = Engine::shared();
    engine.rust_build_image("ready-probe-test/rust:local");
    let context = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(context.path().join(name), text).unwrap();
    write(
        "Cargo.toml",
        "[package]\nname = \"hello\"\nedition = \"2024\"\n[dependencies]\nwait4 = \"0.1\"\n",
    );
    write(
        "main.rs",
        "use wait4 as _;\nfn main() { println!(\"hello world\") }\n",
    );
    write(
        "Dockerfile",
        "ARG BASE=rust:1-bookworm\n\
         FROM ${BASE} AS build\n\
         WORKDIR /src\n\
         COPY . .\n\
         RUN mkdir src && mv main.rs src && \
         RUSTFLAGS='-C target-feature=+crt-static' \
         cargo build --release --target \"$(rustc -vV | sed -n 's/^host: //p')\"\n\
         FROM scratch\n\
         COPY --from=build /src/target/*/release/hello /hello\n\
         CMD [\"/hello\"]\n",
    );
    let tag = engine.unique_name("rust-app");
    let base = [("BASE", "ready-probe-test/rust:local")];
    engine.build(
        &tag,
        context.path(),
        &context.path().join("Dockerfile"),
        &base,
    );
    let said = engine.run_to_end(RunOptions::image(&tag).no_network());
    assert_eq!(said.stdout, "hello world\n", "{said:?}");
    engine.docker(["rmi", &tag]);
}
