//! The recipe of docs/keeper.md that needs an engine: a keeper behind a proxy that lets through what it asks.

use std::{fs, path::Path};

use ready_probe_test_support::{
    docker::{Compose, Engine, ImageRoot, find_program},
    pages::block,
    process::{keeper_binary, probe_binary, wait_until},
};

use crate::fixture::{LIMIT, agent_image, kill_agent};
use crate::recipe_fixture::{build, folder};

const PAGE: &str = "docs/keeper.md";
const HEADING: &str = "Over Docker's socket";

/// An nginx as the official image has it, of the one that is installed here.
fn nginx_image() -> &'static str {
    let tag = "ready-probe-test/nginx";
    let root = ImageRoot::new()
        .folder("/var/lib/nginx", 0o755)
        .folder("/var/log/nginx", 0o755)
        .folder("/run", 0o755)
        .text("/etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\n")
        .text("/etc/group", 0o644, "root:x:0:\n")
        .program(&find_program("nginx"), "/usr/sbin/nginx");
    Engine::shared().import(
        tag,
        &root,
        &["CMD [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]"],
    );
    tag
}

#[test]
fn a_keeper_behind_a_proxy_restarts_the_agent_that_was_killed() {
    let engine = Engine::shared();
    let keeper = "ready-probe-test/recipe-keeper";
    let dockerfile = block(PAGE, HEADING, "dockerfile", 0);
    let dockerfile = dockerfile.with(&[("--interval=10s", "--interval=1s")]);
    let files: [(&Path, &str); 2] = [
        (&keeper_binary(), "ready-keeper"),
        (&probe_binary(), "ready-probe"),
    ];
    build(keeper, &dockerfile, &files);

    let folder = folder(&[]);
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("docker-proxy.conf", &block(PAGE, HEADING, "nginx", 0).text);
    let label = engine.unique_name("recipe");
    let services = block(PAGE, HEADING, "toml", 0).with(&[
        ("ready-keeper=true", &format!("ready-keeper={label}")),
        // Sooner, since somebody waits.
        ("startup = \"2m\"", "startup = \"2s\""),
    ]);
    write(
        "services.toml",
        &format!("[keeper]\ninterval = \"1s\"\n\n{services}"),
    );
    let supervised = format!(
        "image: {}\n    command: [\"/rust-agent\", \"supervise\", \"translator=5555\"]\n",
        agent_image()
    );
    let socket = format!("- {}:/var/run/docker.sock", engine.socket().display());
    let yaml = block(PAGE, HEADING, "yaml", 0).with(&[
        ("image: nginx:1\n", &format!("image: {}\n", nginx_image())),
        ("image: ready-keeper\n", &format!("image: {keeper}\n")),
        ("image: translator\n", &supervised),
        (
            "ready-keeper: \"true\"",
            &format!("ready-keeper: \"{label}\""),
        ),
        ("- /var/run/docker.sock:/var/run/docker.sock", &socket),
    ]);
    // Docker's own compose names its files otherwise than the older one, which wants a version for these keys.
    let path = folder.path().join("compose.yml");
    fs::write(&path, yaml).unwrap();
    let project = Compose::new(engine, &path, "recipe-keeper");
    project.up();
    let (translator, keeper) = (project.service("translator"), project.service("keeper"));
    translator.wait_health("healthy", LIMIT);
    keeper.wait_health("healthy", LIMIT);
    let log = |text: &str| {
        wait_until(LIMIT, text, || keeper.logs().contains(text).then_some(()));
    };
    log("Health check passed for");
    let before = translator.started();
    kill_agent(&translator, "translator");
    log("Successfully recovered");
    assert!(translator.started() > before);
    translator.wait_health("healthy", LIMIT);

    // What it needs not is refused.
    let ask = |path: &str, status: u16| {
        let target = format!("http://docker-proxy:2375{path}#status={status}&method=GET");
        let asked = keeper.exec(&["/ready-probe", "--agent=off", "--grace=0", &target]);
        assert_eq!(asked.code(), 0, "{asked:?}");
    };
    for (path, status) in [
        ("/_ping", 200),
        ("/images/json", 403),
        ("/info", 403),
        ("/containers/json/../../images/json", 403),
        ("/containers/x/logs", 403),
        ("/v1.41/containers/json", 403),
        // Only with POST.
        (&format!("/containers/{}/restart", translator.id()), 403),
    ] {
        ask(path, status);
    }
}
