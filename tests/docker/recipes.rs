//! The recipes of README.md, docs/operations.md, run.md, celery.md, python.md and recipes.md that need an engine, taken
//! out of the page and run as they stand, but for names that others use on the same engine, for how often a check
//! runs, and for the images of others, which are made of the programs that are installed here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use ready_probe_test_support::{
    docker::{Compose, Container, Engine, ImageRoot, Network, RunOptions, find_program},
    pages::{Block, block},
    process::{Run, example_agent, probe_binary, run_within, wait_until, workspace_root},
};
use tempfile::TempDir;

use crate::fixture::{LIMIT, agent, agent_image, debian_image};
use crate::python;

const OPERATIONS: &str = "docs/operations.md";
/// How often the checks of these pages run, and how often they do here.
const INTERVAL: (&str, &str) = ("--interval=10s", "--interval=500ms");
/// Where the pages take the probe from.
const FROM: &str = "--from=ready-probe ";

/// The image that [`FROM`] names, as packaging.rs builds it, of the program that is there already.
fn from_here() -> &'static str {
    static IMAGE: OnceLock<()> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let files = [(&*probe_binary(), "/ready-probe")];
        Engine::shared().import_scratch_root("ready-probe-test/probe-file", &files);
    });
    "--from=ready-probe-test/probe-file "
}

fn shell(script: &str, folder: &Path) -> Run {
    let mut shell = Engine::shared().command("/bin/sh");
    shell.args(["-c", script]).current_dir(folder);
    run_within(&mut shell, Duration::from_secs(300))
}

#[track_caller]
fn done(script: &str, folder: &Path) -> String {
    let run = shell(script, folder);
    assert_eq!(run.code(), 0, "{script}\n{run:?}");
    run.stdout
}

/// Builds an image of a Dockerfile and the files that it copies.
fn build(tag: &str, dockerfile: &str, files: &[(&Path, &str)]) {
    let folder = folder(files);
    let path = folder.path().join("Dockerfile");
    fs::write(&path, dockerfile).unwrap();
    Engine::shared().build(tag, folder.path(), &path, &[]);
}

/// A folder with copies of these files.
fn folder(files: &[(&Path, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, name) in files {
        fs::copy(from, folder.path().join(name)).unwrap();
    }
    folder
}

#[track_caller]
fn assert_healthy(container: &Container) {
    let health = container.wait_health("healthy", LIMIT);
    let said = &health.log.last().unwrap().output;
    assert!(said.starts_with("healthy: "), "{said}");
}

/// A Redis that others in its network call `redis`.
fn redis(network: &Network) -> Container {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let options = RunOptions::image("redis:7").name("recipes-redis");
    engine.run(options.network(network, "redis"))
}

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

/// What stands in for `nginx:1.27`.
fn nginx_image() -> &'static str {
    const CONFIG: &str =
        "user nginx;\nevents {}\nhttp { server { listen 80; location / { return 200; } } }\n";
    let tag = "ready-probe-test/nginx";
    let root = ImageRoot::new()
        .folder("/tmp", 0o1777)
        .folder("/var/log/nginx", 0o755)
        .folder("/var/lib/nginx", 0o755)
        .folder("/run", 0o755)
        .text(
            "/etc/passwd",
            0o644,
            "root:x:0:0::/:/bin/sh\nnginx:x:101:101::/:/bin/sh\n",
        )
        .text("/etc/group", 0o644, "root:x:0:\nnginx:x:101:\n")
        .text("/etc/nginx/nginx.conf", 0o644, CONFIG)
        .text("/docker-entrypoint.sh", 0o755, "#!/bin/sh\nexec \"$@\"\n")
        .program(&find_program("sh"), "/bin/sh")
        .program(&find_program("nginx"), "/usr/sbin/nginx");
    let changes = [
        "ENV PATH=/usr/sbin:/bin",
        "ENTRYPOINT [\"/docker-entrypoint.sh\"]",
        "CMD [\"nginx\", \"-g\", \"daemon off;\"]",
    ];
    Engine::shared().import(tag, &root, &changes);
    tag
}

#[test]
fn compose_puts_run_in_front_of_an_image_that_nobody_changes() {
    let image = format!("image: {}\n", nginx_image());
    let yaml = block("docs/run.md", "Recipes", "yaml", 0).with(&[
        ("image: nginx:1.27\n", &image),
        ("interval: 10s", "interval: 1s"),
    ]);
    let folder = folder(&[(&probe_binary(), "ready-probe")]);
    let path = folder.path().join("compose.yml");
    fs::write(&path, yaml).unwrap();
    let project = Compose::new(Engine::shared(), &path, "nginx");
    project.up();
    let web = project.service("web");
    assert_healthy(&web);
    let asked = web.exec(&["/ready-probe", "http://127.0.0.1/"]);
    assert_eq!(asked.code(), 0, "{asked:?}");
    // TERM goes on to nginx, which ends well.
    web.kill("TERM");
    assert_eq!(web.wait_exit(LIMIT), 0, "{}", web.logs());
}

/// Where Debian has the programs of its newest PostgreSQL.
fn postgres_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let programs = versions.flatten().map(|version| version.path().join("bin"));
    let newest = programs.filter(|bin| bin.join("initdb").is_file()).max();
    newest.expect("no PostgreSQL; install it: apt-get install postgresql")
}

/// Adds all files below a folder of this machine, at the same place.
fn add_files(root: ImageRoot, folder: &Path, skipped: &[&str]) -> ImageRoot {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries.into_iter().fold(root, |root, path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        if skipped.iter().any(|skipped| name.starts_with(skipped)) {
            root
        } else if path.is_dir() {
            add_files(root, &path, skipped)
        } else if path.is_file() {
            let inside = path.to_str().unwrap().to_owned();
            root.file(&path, &inside)
        } else {
            root
        }
    })
}

/// What stands in for `postgres:17`: the PostgreSQL that is installed here, whatever its version.
fn postgres_image() -> &'static str {
    const ENTRYPOINT: &str = "#!/bin/sh\nset -e\n\
        [ -s \"$PGDATA/PG_VERSION\" ] || initdb --no-sync --auth=trust --locale=C >/dev/null\n\
        exec \"$@\"\n";
    let tag = "ready-probe-test/postgres";
    let bin = postgres_programs();
    let version = bin.parent().unwrap();
    let share = Path::new("/usr/share/postgresql").join(version.file_name().unwrap());
    let root = ImageRoot::new()
        .folder("/tmp", 0o1777)
        .folder("/data", 0o1777)
        .folder("/var/run/postgresql", 0o1777)
        .text(
            "/etc/passwd",
            0o644,
            "root:x:0:0::/:/bin/sh\npostgres:x:999:999::/:/bin/sh\n",
        )
        .text("/etc/group", 0o644, "root:x:0:\npostgres:x:999:\n")
        .text("/docker-entrypoint.sh", 0o755, ENTRYPOINT)
        .program(&find_program("sh"), "/bin/sh");
    let root = ["postgres", "initdb", "pg_isready"]
        .iter()
        .fold(root, |root, name| {
            let program = bin.join(name);
            let inside = program.to_str().unwrap().to_owned();
            root.program(&program, &inside)
        });
    // Compiling queries at run time needs LLVM, which nobody misses here.
    let root = add_files(root, &version.join("lib"), &["llvmjit", "bitcode", "pgxs"]);
    let root = add_files(root, &share, &["man"]);
    let path = format!("ENV PATH={}:/bin PGDATA=/data/pg", bin.display());
    let changes = [
        path.as_str(),
        "USER postgres",
        "ENTRYPOINT [\"/docker-entrypoint.sh\"]",
        "CMD [\"postgres\"]",
    ];
    Engine::shared().import(tag, &root, &changes);
    tag
}

#[test]
fn somebody_elses_image_is_healthy_when_its_own_command_says_so() {
    let dockerfile = block("docs/recipes.md", "Somebody else's image", "dockerfile", 0);
    let the_same = block(OPERATIONS, "Docker", "dockerfile", 1);
    assert_eq!(dockerfile.text, the_same.text);
    let from = format!("FROM {}\n", postgres_image());
    let dockerfile =
        dockerfile.with(&[("FROM postgres:17\n", &from), (FROM, from_here()), INTERVAL]);
    let tag = "ready-probe-test/recipe-postgres";
    build(tag, &dockerfile, &[]);
    let container = Engine::shared().run(RunOptions::image(tag).name("recipe-postgres"));
    assert_healthy(&container);
    let asked = container.exec(&["/ready-probe"]);
    assert!(
        asked
            .stdout
            .starts_with("healthy: 1 check passes\n pass     exec:pg_isready "),
        "{asked:?}"
    );
}

#[test]
fn an_image_of_celery_is_healthy_with_its_pool_and_its_broker() {
    let engine = Engine::shared();
    let example = workspace_root().join("examples/celery");
    let base = "ready-probe-test/celery:local";
    engine.python_image(base, &example.join("requirements.txt"));
    let block = block("docs/celery.md", "Celery", "dockerfile", 0).with(&[INTERVAL]);
    let dockerfile = format!(
        "FROM {base}\nCOPY requirements.txt ready_probe-*.whl ./\n\
         RUN pip install --no-cache-dir --requirement requirements.txt ./ready_probe-*.whl\n\
         COPY readiness.py tasks.py ./\nCOPY UTC /usr/share/zoneinfo/UTC\n{block}"
    );
    let wheel = python::wheel();
    let sources = ["requirements.txt", "readiness.py", "tasks.py"];
    let sources = sources.map(|name| (example.join(name), name));
    let mut files: Vec<(&Path, &str)> = sources
        .iter()
        .map(|(path, name)| (path.as_path(), *name))
        .collect();
    files.push((&wheel, wheel.file_name().unwrap().to_str().unwrap()));
    // The official image has time zones.
    files.push((Path::new("/usr/share/zoneinfo/UTC"), "UTC"));
    let tag = "ready-probe-test/recipe-celery";
    build(tag, &dockerfile, &files);
    let network = Network::create(engine, "celery");
    let _redis = redis(&network);
    let options = RunOptions::image(tag).name("celery");
    let options = options.env("CELERY_BROKER_URL", "redis://redis:6379");
    let container = engine.run(options.network(&network, "celery"));
    let health = container.wait_health("healthy", 2 * LIMIT);
    let said = &health.log.last().unwrap().output;
    for target in [
        "agent:celery ",
        "agent:celery-pool#min=2 ",
        "redis://redis:6379 ",
    ] {
        assert!(said.contains(&format!(" pass     {target}")), "{said}");
    }
}

/// The program of the page's image: any that PyInstaller takes.
const FROZEN: &str = "
import signal
from ready_probe import Agent
agent = Agent('frozen', install_signal_handlers=True)
agent.mark_ready()
while True:
    signal.pause()
";

#[test]
fn an_image_of_a_frozen_program_needs_no_python() {
    debian_image();
    let python = workspace_root().join("target/python-venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: `make python-venv` makes it",
        python.display()
    );
    let folder = folder(&[]);
    fs::write(folder.path().join("app.py"), FROZEN).unwrap();
    let mut freeze = Command::new(&python);
    freeze
        .args([
            "-m",
            "PyInstaller",
            "--onedir",
            "--log-level=WARN",
            "app.py",
        ])
        .current_dir(folder.path());
    let frozen = run_within(&mut freeze, Duration::from_secs(300));
    assert_eq!(frozen.code(), 0, "{frozen:?}");
    let block = block("docs/python.md", "A frozen program", "dockerfile", 0).with(&[INTERVAL]);
    let path = folder.path().join("Dockerfile");
    fs::write(
        &path,
        format!("FROM ready-probe-test/debian-tools\n{block}"),
    )
    .unwrap();
    let tag = "ready-probe-test/recipe-frozen";
    Engine::shared().build(tag, folder.path(), &path, &[]);
    let container = Engine::shared().run(RunOptions::image(tag).name("frozen"));
    assert_healthy(&container);
    container.kill("TERM");
    assert_eq!(container.wait_exit(LIMIT), 143, "{}", container.logs());
}
