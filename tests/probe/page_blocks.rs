//! Who runs the blocks of code of every document.

use std::collections::BTreeMap;
use std::fs;

use ready_probe_test_support::pages::blocks;
use ready_probe_test_support::process::workspace_root;

/// Each document, and its blocks of code: heading, language, how many, and which tests run them. Behind a dash
/// stands why none does.
type Blocks = &'static [(&'static str, &'static str, usize, &'static str)];
// One row a line.
#[rustfmt::skip]
const PAGES: [(&str, Blocks); 16] = [
    (
        "README.md",
        &[
            ("ready-probe", "console", 1, "tests/docker/readme.rs"),
            ("Try it", "sh", 2, "- `make demo` and `make test` themselves"),
            ("Try it", "text", 1, "tests/probe/readme.rs"),
            ("Use it", "console", 1, "tests/docker/images/packaging.rs"),
            ("Use it", "dockerfile", 1, "tests/docker/recipes.rs"),
            ("Use it", "python", 1, "bindings-python/tests/test_examples.py"),
            ("Use it", "rust,no_run", 1, "sdk/src/lib.rs"),
            ("At the speed of events", "dockerfile", 1, "- the line of examples/Dockerfile, which tests/docker/images/compose.rs runs, with a start period"),
        ],
    ),
    (
        "docs/celery.md",
        &[
            ("Celery", "python", 1, "bindings-python/tests/test_celery.py"),
            ("Celery", "dockerfile", 1, "tests/docker/images/recipes_python.rs"),
            ("Where a module-level agent ends up", "python", 1, "bindings-python/tests/test_celery.py"),
            ("dramatiq", "python", 1, "bindings-python/tests/test_queues.py"),
            ("RQ", "python", 1, "bindings-python/tests/test_queues.py"),
            ("arq", "python", 1, "bindings-python/tests/test_queues.py"),
        ],
    ),
    (
        "docs/configuration.md",
        &[
            ("Configuration", "sh", 1, "tests/probe/pages.rs"),
            ("A probe that waits", "sh", 1, "tests/probe/pages.rs"),
            ("wait", "sh", 1, "tests/probe/pages.rs"),
            ("mark", "sh", 1, "tests/probe/pages.rs"),
            ("list", "sh", 1, "tests/probe/pages.rs"),
            ("install", "sh", 1, "tests/probe/pages.rs"),
            ("Options of every command", "sh", 1, "tests/probe/pages.rs"),
            ("The store", "sh", 1, "tests/probe/pages.rs"),
            ("The file", "toml", 1, "tests/probe/pages.rs"),
            ("The report", "text", 1, "- what is printed"),
        ],
    ),
    (
        "docs/install.md",
        &[
            ("Copy it from an image", "sh", 2, "tests/docker/images/install.rs"),
            ("Copy it from an image", "dockerfile", 1, "tests/docker/images/install.rs"),
            ("Add the file", "dockerfile", 1, "tests/docker/images/install.rs"),
            ("Install the wheel", "dockerfile", 1, "tests/docker/images/install.rs"),
            ("Install the wheel", "python", 1, "tests/docker/images/install.rs"),
            ("Mount the file", "sh", 1, "tests/docker/images/install.rs"),
            ("Mount the file", "yaml", 1, "tests/docker/images/install.rs"),
            ("Fill a volume", "yaml", 2, "tests/docker/images/install.rs"),
        ],
    ),
    (
        "docs/keeper-settings.md",
        &[
            ("Settings of ready-keeper in TOML", "toml", 1, "keeper/src/services/toml_tests.rs"),
            ("`stop`", "toml", 1, "keeper/src/services/toml_tests.rs"),
            ("What would be done", "console", 1, "tests/keeper/config.rs"),
        ],
    ),
    (
        "docs/keeper.md",
        &[
            ("ready-keeper", "console", 1, "tests/keeper/around.rs"),
            ("ready-keeper", "cron", 1, "- cron is not here"),
            ("The services", "json", 1, "keeper/src/services/tests.rs"),
            ("What it says", "text", 1, "tests/keeper/scenarios.rs"),
            ("Alerts", "console", 1, "tests/keeper/alerts.rs"),
            ("Over Docker's socket", "toml", 1, "tests/docker/recipes_keeper.rs"),
            ("Over Docker's socket", "nginx", 1, "tests/docker/recipes_keeper.rs"),
            ("Over Docker's socket", "dockerfile", 1, "tests/docker/recipes_keeper.rs"),
            ("Over Docker's socket", "yaml", 1, "tests/docker/recipes_keeper.rs"),
            ("Beside supervisord", "toml", 1, "tests/keeper/failure_modes.rs"),
            ("Beside supervisord", "sh", 2, "tests/keeper/failure_modes.rs"),
            ("Beside supervisord", "ini", 1, "- systemd is not here"),
            ("Orders", "console", 1, "tests/keeper/orders.rs"),
            ("Where services stand", "console", 1, "tests/keeper/status.rs"),
        ],
    ),
    (
        "docs/kubernetes.md",
        &[
            ("Kubernetes", "console", 1, "- kubectl asks an API server, and no package brings one; tests/podman plays these manifests"),
            ("An agent", "yaml", 1, "tests/podman/schema.rs"),
            ("Agents that need each other", "yaml", 1, "tests/podman/schema.rs"),
            ("An image that you can't change", "yaml", 1, "tests/podman/schema.rs"),
        ],
    ),
    (
        "docs/monitoring.md",
        &[
            ("From the probe", "sh", 1, "tests/probe/metrics.rs"),
            ("From the probe", "dockerfile", 1, "- the command above, as the line of examples/Dockerfile"),
            ("From the keeper", "sh", 1, "tests/keeper/metrics.rs"),
        ],
    ),
    (
        "docs/operations.md",
        &[
            ("It is 3 in the morning", "console", 4, "tests/docker/recipes.rs"),
            ("It is 3 in the morning", "console", 1, "tests/docker/operations.rs"),
            ("At the speed of events", "dockerfile", 1, "- the line of examples/Dockerfile, which tests/docker/images/compose.rs runs, with a start period"),
            ("At the speed of events", "yaml", 1, "- the lines of examples/compose.yml, which tests/docker/images/compose.rs runs"),
            ("Docker", "console", 1, "tests/docker/images/packaging.rs"),
            ("Docker", "dockerfile", 1, "tests/docker/recipes.rs"),
            ("Docker", "dockerfile", 1, "tests/docker/recipes_others_images.rs"),
            ("Docker", "console", 2, "tests/docker/recipes.rs"),
            ("Compose", "yaml", 1, "tests/docker/recipes.rs"),
            ("Compose", "dockerfile", 2, "tests/docker/recipes.rs"),
            ("Podman", "console", 1, "tests/podman/health.rs"),
            ("What a check costs", "console", 1, "tests/docker/operations.rs"),
            ("READY_STORE", "console", 1, "tests/docker/recipes.rs"),
        ],
    ),
    (
        "docs/python.md",
        &[
            ("An image", "dockerfile", 1, "bindings-python/tests/test_examples.py"),
            ("Compose", "console", 1, "tests/docker/images/python.rs"),
            ("A frozen program", "dockerfile", 1, "tests/docker/images/recipes_python.rs"),
            ("A loop that finishes its job", "python", 1, "bindings-python/tests/test_signals.py"),
            ("Work and progress", "python", 1, "bindings-python/tests/test_examples.py"),
            ("Web services", "python", 1, "bindings-python/tests/test_examples.py"),
            ("Servers with several processes", "python", 2, "bindings-python/tests/test_processes.py"),
            ("Work that fails or hangs unseen", "python", 2, "bindings-python/tests/test_processes.py"),
            ("Errors and the log", "python", 1, "bindings-python/tests/test_examples.py"),
        ],
    ),
    (
        "docs/recipes.md",
        &[
            ("A container with one agent", "dockerfile", 1, "- variables alone"),
            ("An agent that promises progress", "rust,no_run", 1, "sdk/src/lib.rs"),
            ("Python", "python", 3, "bindings-python/tests/test_examples.py"),
            ("Dependencies", "sh", 1, "tests/probe/recipes.rs"),
            ("Agents that others can see", "dockerfile", 1, "- variables alone"),
            ("Agents that others can see", "rust,no_run", 1, "sdk/src/lib.rs"),
            ("Agents that others can see", "sh", 1, "tests/probe/recipes.rs"),
            ("From a shell script", "sh", 1, "tests/probe/recipes.rs"),
            ("Start order without Compose", "sh", 1, "tests/probe/recipes.rs"),
            ("Start order without Compose", "dockerfile", 1, "tests/docker/recipes.rs"),
            ("Somebody else's image", "dockerfile", 1, "tests/docker/recipes_others_images.rs"),
            ("What would be checked?", "sh", 1, "tests/probe/recipes.rs"),
            ("Compose", "console", 1, "tests/docker/images/compose.rs"),
        ],
    ),
    (
        "docs/run.md",
        &[
            ("Programs that can't call an SDK: `ready-probe run`", "dockerfile", 1, "tests/docker/run_command.rs"),
            ("Recipes", "sh", 5, "tests/probe/run_programs.rs"),
            ("Recipes", "python", 1, "tests/probe/run_programs.rs"),
            ("Recipes", "yaml", 1, "tests/docker/recipes_others_images.rs"),
        ],
    ),
    (
        "docs/rust.md",
        &[
            ("The dependency", "toml", 1, "tests/pages/tests/rust.rs"),
            ("An agent", "rust", 1, "tests/pages/build.rs"),
            ("A service on tokio", "toml", 1, "tests/pages/tests/rust.rs"),
            ("A service on tokio", "rust,no_run", 1, "tests/pages/build.rs"),
            ("Several threads", "rust", 1, "tests/pages/build.rs"),
            ("Tests", "rust", 1, "tests/pages/build.rs"),
        ],
    ),
    (
        "docs/signal.md",
        &[
            ("The record", "json", 1, "tests/probe/pages.rs"),
            ("In Redis", "text", 1, "sdk/tests/announce/acl.rs"),
            ("In NATS", "console", 1, "- no package of Debian or PyPI has the `nats` CLI: sdk/tests/announce/quorum.rs makes the same bucket"),
            ("In NATS", "text", 1, "sdk/tests/announce/permissions.rs"),
            ("In Python, with nothing but its library", "python", 1, "tests/probe/pages.rs"),
            ("In a shell", "sh", 1, "tests/probe/pages.rs"),
        ],
    ),
    (
        "docs/targets.md",
        &[
            ("Targets", "sh", 1, "tests/probe/pages.rs"),
            ("Variables", "sh", 1, "tests/probe/pages.rs"),
            ("redis", "sh", 1, "tests/probe/pages.rs"),
            ("tcp and unix", "text", 1, "- tried by hand with MariaDB 10.11, which takes 110 MB"),
            ("any", "toml", 1, "tests/probe/pages.rs"),
        ],
    ),
    (
        "bindings-python/README.md",
        &[
            ("ready-probe", "dockerfile", 1, "bindings-python/tests/test_package.py"),
            ("ready-probe", "python", 1, "bindings-python/tests/test_examples.py"),
        ],
    ),
];

#[test]
fn each_block_of_each_document_is_run_by_a_test_or_it_is_said_why_not() {
    let root = workspace_root();
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().display()));
    for page in docs.filter(|page| page.ends_with(".md")) {
        assert!(PAGES.iter().any(|(listed, _)| *listed == page), "{page}");
    }
    for (page, listed) in PAGES {
        let mut found: BTreeMap<(String, String), usize> = BTreeMap::new();
        for block in blocks(page) {
            *found.entry((block.heading, block.language)).or_default() += 1;
        }
        let mut known: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (heading, language, count, by) in listed {
            *known
                .entry(((*heading).to_owned(), (*language).to_owned()))
                .or_default() += count;
            assert!(
                by.starts_with("- ") || root.join(by).is_file(),
                "{page}: {by}"
            );
        }
        assert_eq!(found, known, "{page}: who runs its blocks?");
    }
}
