//! The recipes of README.md, docs/operations.md and recipes.md that need an engine, but for those of images of others.

use std::{fs, path::Path, time::Duration};

use ready_probe_test_support::{
    docker::{Compose, Engine, Network, RunOptions},
    pages::{Block, block},
    process::{Run, example_agent, wait_until},
};

use crate::fixture::{LIMIT, agent, agent_image};
use crate::recipe_fixture::{
    FROM, INTERVAL, OPERATIONS, assert_healthy, build, done, folder, from_here, redis, shell,
};

#[test]
fn the_commands_for_the_night_say_what_is_wrong() {
    let engine = Engine::shared();
    let network = Network::create(engine, "night");
    let _redis = redis(&network);
    let options = agent("night").health_interval(Duration::from_millis(500));
    let options = options.env("READY_STORE", "redis://redis:6379");
    let container = engine.run(options.network(&network, "translator"));
    assert_healthy(&container);
    wait_until(LIMIT, "it to be announced", || {
        let listed = container.exec(&["/ready-probe", "list"]);
        listed.stdout.starts_with("1 agent: 1 ready").then_some(())
    });
    let ask = |heading: &str, nth: usize| -> Vec<Run> {
        let block = block(OPERATIONS, heading, "console", nth);
        let typed = block.typed().into_iter().map(str::to_owned);
        let here = Path::new("/");
        typed
            .map(|line| shell(&line.replace("CONTAINER", container.id()), here))
            .collect()
    };
    let night = |nth| ask("It is 3 in the morning", nth);

    let [status, log] = night(0).try_into().unwrap();
    assert_eq!((status.code(), status.stdout.trim()), (0, "healthy"));
    assert_eq!(log.code(), 0, "{log:?}");
    assert!(log.stdout.contains(" exit 0: healthy: "), "{log:?}");
    let [now, config, redis] = night(1).try_into().unwrap();
    assert_eq!((now.code(), config.code(), redis.code()), (0, 0, 0));
    assert!(now.stdout.starts_with("healthy: "), "{now:?}");
    assert!(
        config.stdout.contains("READY_STORE (environment)"),
        "{config:?}"
    );
    assert!(
        redis.stdout.contains("healthy: 1 check passes\n"),
        "{redis:?}"
    );
    let [not_ready, expected] = night(3).try_into().unwrap();
    assert_eq!(not_ready.stdout, "1 agent: 1 ready\n", "{not_ready:?}");
    assert_eq!(expected.code(), 1, "{expected:?}");
    for missing in ["gateway", "memory-system"] {
        assert!(expected.stdout.contains(missing), "{expected:?}");
    }
    let [written] = night(4).try_into().unwrap();
    let record: serde_json::Value =
        serde_json::from_str(&written.stdout).unwrap_or_else(|e| panic!("{e}: {written:?}"));
    assert_eq!(record["agent"], "translator");
    let [listed, peer] = ask("READY_STORE", 0).try_into().unwrap();
    assert!(
        listed.stdout.starts_with("1 agent: 1 ready\n"),
        "{listed:?}"
    );
    assert_eq!(peer.code(), 1, "{peer:?}");
    assert!(
        peer.stdout
            .starts_with("unhealthy: dependency peer:memory-system: "),
        "{peer:?}"
    );
}

#[test]
fn an_agents_image_needs_nothing_but_its_dockerfile() {
    let engine = Engine::shared();
    let dockerfile = block(OPERATIONS, "Docker", "dockerfile", 0);
    // Which has the libraries of the agent.
    let base = format!("FROM {}", agent_image());
    let dockerfile = dockerfile.with(&[(FROM, from_here()), ("FROM scratch", &base), INTERVAL]);
    let folder = folder(&[(&example_agent(), "agent")]);
    fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
    let tag = "ready-probe-test/recipe-translator";
    let console = block(OPERATIONS, "Docker", "console", 1);
    let [build, run, ask] = console.typed().try_into().unwrap();
    assert!(build.contains("--tag translator "));
    done(
        &build.replace("--tag translator ", &format!("--tag {tag} ")),
        folder.path(),
    );
    let name = engine.unique_name("translator");
    let named = "--name translator translator";
    assert!(run.ends_with(named), "{run}");
    let run = run.replace(named, &format!("--name {name} {tag}"));
    let container = engine.adopt(done(&run, folder.path()).trim());
    assert_healthy(&container);
    let ask = ask.replace(" translator ", &format!(" {name} "));
    let said = done(&ask, folder.path());
    let printed: Vec<&str> = console.text.lines().skip(3).collect();
    assert_eq!(said.lines().next(), Some(printed[0]));
    let without_time = |line: &str| line.rsplit_once(' ').unwrap().0.trim_end().to_owned();
    assert_eq!(
        said.lines().nth(1).map(without_time),
        Some(without_time(printed[1]))
    );

    // The same image, with an address that a file holds.
    let secrets = block(OPERATIONS, "Docker", "console", 2);
    let [line] = secrets.typed().try_into().unwrap();
    assert!(line.ends_with(" translator"), "{line}");
    let name = engine.unique_name("secrets");
    let line = line.replace("docker run -d ", &format!("docker run -d --name {name} "));
    let line = line.replace(" translator", &format!(" {tag}"));
    fs::write(
        folder.path().join("redis-url"),
        "redis://:hUnTeR2@redis:6379\n",
    )
    .unwrap();
    let container = engine.adopt(done(&line, folder.path()).trim());
    let config = container.exec(&["/ready-probe", "config"]);
    assert_eq!(config.code(), 0, "{config:?}");
    assert!(
        config.stdout.contains("redis://***@redis:6379"),
        "{config:?}"
    );
    assert!(config.stdout.contains("REDIS_URL_FILE"), "{config:?}");
}

#[test]
fn an_image_whose_command_waits_becomes_the_agent_once_its_store_is_there() {
    let engine = Engine::shared();
    let images: [(Block, &str); 2] = [
        (
            block(OPERATIONS, "Compose", "dockerfile", 1),
            "ENV REDIS_URL=redis://redis:6379",
        ),
        (
            block(
                "docs/recipes.md",
                "Start order without Compose",
                "dockerfile",
                0,
            ),
            "ENV READY_STORE=redis://redis:6379",
        ),
    ];
    let network = Network::create(engine, "waits");
    let run = |nth: usize| {
        let (block, settings) = &images[nth];
        let tag = format!("ready-probe-test/recipe-waits-{nth}");
        let dockerfile = format!(
            "FROM {}\nCOPY agent /agent\n{settings}\n{}",
            agent_image(),
            block.text
        );
        build(&tag, &dockerfile, &[(&example_agent(), "agent")]);
        let options = RunOptions::image(tag).name("waits");
        engine.run(options.network(&network, "waits"))
    };
    let waiting = [run(0), run(1)];
    for container in &waiting {
        wait_until(LIMIT, "it to wait", || {
            container.logs().contains("waiting: ").then_some(())
        });
    }
    let _redis = redis(&network);
    assert_healthy(&waiting[0]);
    // The other one waits for its peer as well.
    let peer = agent("waited-for")
        .env("READY_STORE", "redis://redis:6379")
        .env("AGENT_NAME", "memory-system");
    let _peer = engine.run(peer.network(&network, "memory-system"));
    assert_healthy(&waiting[1]);
}

#[test]
fn a_compose_file_brings_up_agents_in_order() {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let gateway = "ready-probe-test/recipe-gateway";
    build(
        gateway,
        &format!("FROM {}\nENV AGENT_NAME=gateway\n", agent_image()),
        &[],
    );
    let yaml = block(OPERATIONS, "Compose", "yaml", 0).with(&[
        (
            "image: translator\n",
            &format!("image: {}\n", agent_image()),
        ),
        ("image: gateway\n", &format!("image: {gateway}\n")),
        ("interval: 10s", "interval: 1s"),
    ]);
    let folder = folder(&[]);
    let path = folder.path().join("compose.yml");
    fs::write(&path, yaml).unwrap();
    let project = Compose::new(engine, &path, "recipe");
    project.up();
    for service in ["translator", "gateway"] {
        assert_healthy(&project.service(service));
    }
    let said = project
        .health("translator")
        .log
        .last()
        .unwrap()
        .output
        .clone();
    for target in ["agent:translator", "redis://redis:6379"] {
        assert!(said.contains(&format!(" pass     {target} ")), "{said}");
    }
    let (translator, gateway) = (project.service("translator"), project.service("gateway"));
    assert!(gateway.started() > translator.started());
}

#[test]
fn a_server_in_its_own_container_is_asked_whether_it_answers() {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let dockerfile = block(OPERATIONS, "Compose", "dockerfile", 0);
    let dockerfile = dockerfile.with(&[(FROM, from_here()), ("--interval=5s", "--interval=500ms")]);
    let tag = "ready-probe-test/recipe-redis";
    build(tag, &dockerfile, &[]);
    let container = engine.run(RunOptions::image(tag).name("recipe-redis"));
    assert_healthy(&container);
}

/// The lines of the landing page, in an image that is the reader's own.
#[test]
fn the_lines_of_the_landing_page_make_an_image_healthy() {
    let lines = block("README.md", "Use it", "dockerfile", 0);
    let lines = lines.with(&[(FROM, from_here()), INTERVAL]);
    let tag = "ready-probe-test/recipe-readme";
    // Which has the libraries of the agent.
    let own = format!(
        "FROM {}\nCOPY agent /agent\nENTRYPOINT [\"/agent\"]\n",
        agent_image()
    );
    build(
        tag,
        &format!("{own}{lines}"),
        &[(&example_agent(), "agent")],
    );
    let container = Engine::shared().run(RunOptions::image(tag).name("recipe-readme"));
    assert_healthy(&container);
}
