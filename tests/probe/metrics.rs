//! `--format prometheus`, and `--output`: a report as metrics, in a file of node_exporter's textfile collector.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ready_probe_test_support::pages::block;
use ready_probe_test_support::process::{Guard, Run, probe_binary, run};
use ready_probe_test_support::servers::prometheus::assert_lints;

use crate::container::{Container, assert_mentions, assert_said, assert_starts, through};
use crate::hung_mount::World;
use crate::records::publish;

fn has(metrics: &str, start: &str, end: &str) -> bool {
    let mut lines = metrics.lines();
    lines.any(|line| line.starts_with(start) && line.ends_with(end))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The names of the files of a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A folder of files, and what writes `a.prom` there.
fn textfile() -> (Container, std::path::PathBuf, [String; 4]) {
    let container = Container::new();
    let folder = container.path("textfile");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("a.prom").display().to_string();
    let args = ["--format", "prometheus", "--output", &file].map(str::to_owned);
    (container, folder, args)
}

#[test]
fn whatever_is_asked_becomes_metrics_without_a_secret() {
    let container = Container::new();
    publish(&container, "translator", std::process::id(), |_| {});
    let said = container.run([
        "--format",
        "prometheus",
        "agent:translator",
        "agent:nobody#optional",
        "exec:true#name=a \"quoted\" \\ name",
        "redis://user:seCret1@127.0.0.1:1#optional",
        "redis://user:seCret2@127.0.0.1:1#optional",
        "http://127.0.0.1:1/?token=seCret3#header=authorization:seCret4",
    ]);
    assert_eq!((said.code(), said.stderr.as_str()), (1, ""), "{said:?}");
    let metrics = &said.stdout;
    assert_lints(metrics);
    assert!(!metrics.contains("seCret"), "{metrics}");
    let version = container.run(["--version"]).stdout;
    let version = version.split_whitespace().nth(1).unwrap();
    let version = format!(",version=\"{version}\"}} 1");
    for (start, end) in [
        ("ready_probe_info{host=\"", version.as_str()),
        ("ready_probe_verdict{", ",state=\"unhealthy\"} 1"),
        ("ready_probe_verdict{", ",state=\"healthy\"} 0"),
        (
            "ready_probe_check_outcome{",
            ",check=\"agent:translator\",target=\"agent:translator\",scope=\"own\",optional=\"false\",state=\"pass\"} 1",
        ),
        (
            "ready_probe_check_outcome{",
            ",check=\"a \\\"quoted\\\" \\\\ name\",target=\"exec:true\",scope=\"own\",optional=\"false\",state=\"fail\"} 0",
        ),
        (
            "ready_probe_agent_instances{",
            ",agent=\"translator\",state=\"ready\"} 1",
        ),
        (
            "ready_probe_agent_instances{",
            ",agent=\"nobody\",state=\"ready\"} 0",
        ),
        ("ready_probe_agent_beat_timestamp_seconds{", ""),
    ] {
        assert!(has(metrics, start, end), "{start} {end}\n{metrics}");
    }
    // They differ in a secret only, and would be one series twice.
    assert_eq!(metrics.matches("127.0.0.1:1 (2)\",target=").count(), 4);
}

#[test]
fn a_file_is_written_whole_for_everybody_to_read_beside_what_people_are_told() {
    let (container, folder, args) = textfile();
    let told = container.run(args.iter().map(String::as_str).chain(["exec:true"]));
    assert_said(&told, 0, "healthy: 1 check passes");
    assert_eq!(files(&folder), ["a.prom"]);
    let file = folder.join("a.prom");
    let first = fs::read_to_string(&file).unwrap();
    assert_lints(&first);
    assert!(has(&first, "ready_probe_verdict{", ",state=\"healthy\"} 1"));

    // Whoever reads keeps what was there, and the status is what it is without.
    let read_before = fs::File::open(&file).unwrap();
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(probe_binary())
        .args(&args)
        .arg("exec:false")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("READY_DIR", container.ready_dir());
    assert_starts(&run(&mut shell), 1, "unhealthy: exec:false: exit status 1");
    let again = fs::read_to_string(&file).unwrap();
    assert!(has(
        &again,
        "ready_probe_verdict{",
        ",state=\"unhealthy\"} 1"
    ));
    assert_eq!(std::io::read_to_string(read_before).unwrap(), first);
    assert_eq!(
        (files(&folder), mode(&file)),
        (vec!["a.prom".to_owned()], 0o644)
    );

    // Quiet is what is printed.
    let quiet = container.run(
        args.iter()
            .map(String::as_str)
            .chain(["--quiet", "exec:true"]),
    );
    assert_eq!((quiet.code(), quiet.stdout.as_str()), (0, ""), "{quiet:?}");
    let third = fs::read_to_string(&file).unwrap();
    assert!(has(&third, "ready_probe_verdict{", ",state=\"healthy\"} 1"));
    // And any format can go there.
    let json = container.path("report.json").display().to_string();
    let told = container.run(["--format", "json", "--output", &json, "exec:true"]);
    assert_said(&told, 0, "healthy: 1 check passes");
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["verdict"], "healthy");
}

#[test]
fn a_held_answer_is_written_when_it_is_given() {
    let (container, folder, args) = textfile();
    let held = ["--long-poll", "100ms", "exec:true"];
    for _ in 0..2 {
        let told = container.run(args.iter().map(String::as_str).chain(held));
        assert_said(&told, 0, "healthy: 1 check passes");
        fs::remove_file(folder.join("a.prom")).unwrap();
    }
}

#[track_caller]
fn assert_unwritten(run: &Run, file: &str, why: &str) {
    assert_said(run, 0, "healthy: 1 check passes");
    let want = format!("ready-probe: --output {file}: it can't be written: {why}");
    assert!(
        run.stderr.starts_with(&want) && run.stderr.lines().count() == 1,
        "{want}: {run:?}"
    );
}

#[test]
fn a_file_that_can_not_be_written_changes_no_answer() {
    let container = Container::new();
    let missing = container.path("missing/a.prom").display().to_string();
    let folder = container.path("folder");
    fs::create_dir_all(folder.join("x")).unwrap();
    let folder = folder.display().to_string();
    // As a device is, such as /dev/stdout, which is a link.
    let [fifo, link] = ["fifo", "link"].map(|name| container.path(name).display().to_string());
    let made = run(Command::new("mkfifo").arg(&fifo));
    assert_eq!(made.code(), 0, "{made:?}");
    symlink("fifo", &link).unwrap();
    for (file, why) in [
        (&missing, "No such file or directory"),
        (&folder, "it is no regular file"),
        (&fifo, "it is no regular file"),
        (&link, "it is no regular file"),
    ] {
        let told = container.run(["--output", file, "exec:true"]);
        assert_unwritten(&told, file, why);
    }
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("fifo"));
    // Nor does the half of a file stay.
    assert!(
        files(&container.path(""))
            .iter()
            .all(|name| !name.contains("."))
    );
}

#[test]
fn nobody_waits_for_a_file_system_that_may_hang() {
    let world = World::new();
    let file = world.far("a.prom");
    world.fuse.hang();
    let told = run(&mut world.probe(&["--output", &file, "exec:true"]));
    let why = format!(
        "{} may hang, and nothing here may wait for it",
        world.point()
    );
    assert_unwritten(&told, &file, &why);
    assert!(world.left().is_empty());
}

#[test]
fn why_nothing_could_be_asked_is_said_beside_the_file_too() {
    let world = World::new();
    let config = world.file("toml", "");
    let file = world.container.path("a.prom").display().to_string();
    world.fuse.hang();
    let args = ["--format", "prometheus", "--output", &file];
    let args = [&args[..], &["--config", &config, "exec:true"]].concat();
    let told = run(&mut world.probe(&args));
    let says = format!("{} does not answer", world.point());
    assert_mentions(&told, 1, &["unhealthy: ", &says]);
    let metrics = fs::read_to_string(file).unwrap();
    assert_lints(&metrics);
    assert!(has(
        &metrics,
        "ready_probe_verdict{",
        ",state=\"unhealthy\"} 1"
    ));
}

#[test]
fn what_the_deadline_says_in_the_place_of_metrics_is_a_comment() {
    let world = World::new();
    let file = world.container.path("a.prom").display().to_string();
    // Without /proc nobody knows that the folder may hang.
    let script = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    for (more, want) in [
        (&[][..], "# unhealthy: no answer by the deadline: "),
        (
            &["--output", &file],
            "unhealthy: no answer by the deadline: ",
        ),
    ] {
        world.fuse.hang();
        let args = [&["--format", "prometheus", "agent:a"], more].concat();
        let mut probe = world.probe(&args);
        probe.env("READY_DIR", world.far("ready"));
        probe.env("READY_TIMEOUT", "500ms");
        let mut probe = through("unshare", &["--mount", "sh", "-c", script], &probe);
        let mut probe = Guard::spawn(probe.stdout(Stdio::piped()).stderr(Stdio::null()));
        let mut line = String::new();
        let mut stdout = BufReader::new(probe.child().stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        // It ends once nothing hangs any more.
        world.fuse.go_on();
        assert!(line.starts_with(want), "{line}");
        assert_eq!(probe.wait_within(Duration::from_secs(10)).code(), Some(1));
    }
}

#[test]
fn it_is_the_health_check_s_alone() {
    let container = Container::new();
    let refused = |run: &Run, status: i32, want: &str| {
        assert!(run.code() == status && run.stderr.contains(want), "{run:?}");
    };
    let typed = container.run(["list", "--format", "prometheus"]);
    refused(&typed, 64, "--format (command line): list has no metrics");
    let set = run(container.probe(["list"]).env("READY_FORMAT", "prometheus"));
    refused(&set, 78, "READY_FORMAT (environment): list has no metrics");
    let beside = container.run(["--output", "x", "list"]);
    refused(
        &beside,
        64,
        "--output is an option of the health check alone",
    );
    let config = container.run(["config", "--format", "prometheus"]);
    assert_eq!(config.code(), 0, "{config:?}");
    assert!(config.stdout.contains("format    prometheus"), "{config:?}");
}

#[test]
fn the_command_of_the_page_writes_the_file() {
    let container = Container::new();
    publish(&container, "translator", std::process::id(), |_| {});
    let folder = container.path("").display().to_string();
    let script = block("docs/monitoring.md", "From the probe", "sh", 0);
    let script = script.with(&[("/var/lib/prometheus/node-exporter/", &folder)]);
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-euc", &script])
        .env_clear()
        .env("PATH", probe_binary().parent().unwrap())
        .env("READY_DIR", container.ready_dir());
    let told = run(&mut shell);
    assert_starts(&told, 0, "healthy: 1 check passes");
    let metrics = fs::read_to_string(container.path("translator.prom")).unwrap();
    assert!(
        has(&metrics, "ready_probe_verdict{", ",state=\"healthy\"} 1"),
        "{metrics}"
    );
}
