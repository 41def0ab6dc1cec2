//! The recipes for images that are somebody else's, of docs/run.md and recipes.md: nginx and PostgreSQL.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ready_probe_test_support::{
    docker::{Compose, Engine, ImageRoot, RunOptions, find_program},
    pages::block,
    process::probe_binary,
};

use crate::fixture::LIMIT;
use crate::recipe_fixture::{FROM, INTERVAL, OPERATIONS, assert_healthy, build, folder, from_here};

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
