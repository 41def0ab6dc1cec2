//! Commands whose settings lie on a file system that has stopped answering, or that answers from afar.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::process::{Run, run, run_within};

use crate::container::{Container, assert_mentions, through};
use crate::hung_mount::{World, assert_in_time, unless_starved};
use crate::starved;

/// A program that leaves a line wherever it was run.
struct Program {
    runs: PathBuf,
    script: String,
}

impl Program {
    fn of(world: &World) -> Self {
        let runs = world.container.path("runs");
        let script = format!("echo run >> {}", runs.display());
        Self { runs, script }
    }

    /// Behind the arguments of a command that starts it.
    fn behind<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [args, &["--", "sh", "-c", &self.script]].concat()
    }

    #[track_caller]
    fn assert_ran_once(&self, run: &Run) {
        assert_eq!(run.code(), 0, "{run:?}");
        assert_eq!(fs::read_to_string(&self.runs).unwrap(), "run\n", "{run:?}");
        fs::remove_file(&self.runs).unwrap();
    }
}

#[test]
fn a_command_whose_settings_hang_ends_too() {
    let world = World::new();
    let config = world.file("toml", "");
    let ready = world.far("ready");
    let list = starved::unless_starved(|| run(&mut world.probe(&["list", "--config", &config])));
    assert_eq!(list.code(), 0, "{list:?}");
    world.fuse.hang();
    let in_file = format!("dir = \"{ready}\"");
    let near = world.container.file("near.toml", in_file);
    let near = near.to_str().unwrap();
    let socket = format!("redis+unix://{}", world.far("socket"));
    let certificate = format!("rediss://127.0.0.1:1#ca={config}");
    let mut starved = 0;
    for args in [
        &["config", "--config", &config, "--dir", &ready][..],
        &["list", "--dir", &ready],
        &["mark", "a", "--dir", &ready],
        &["list", "--config", near],
        &["mark", "a", "--config", near],
        &["list", "--store", &socket],
        &["mark", "a", "--store", &certificate],
    ] {
        let mut probe = world.probe(args);
        if args.contains(&near) {
            // The environment goes before the file.
            probe.env_remove("READY_DIR");
        }
        let run = unless_starved(&mut probe, &mut starved);
        let says = format!("{} does not answer", world.point());
        assert_mentions(&run, 1, &["ready-probe: ", &says]);
        assert_in_time(&run);
    }
    // One is remembered in READY_DIR, and one in a default folder, where READY_DIR itself hangs.
    // All tests share the latter: where its lock is held for too long, one more is left.
    let left = world.left().len();
    assert!((2..=4 + starved).contains(&left), "{left}");
}

/// Nobody can start it in its place: a child has tried before whether its settings answer.
#[test]
fn a_program_is_not_started_where_its_settings_hang() {
    let world = World::new();
    let config = world.file("toml", "");
    let url = world.file("url", "redis://127.0.0.1:1");
    let program = Program::of(&world);
    let near = format!("file:{}", world.container.file("near", "").display());
    let in_file = format!("dir = \"{}\"", world.far("ready"));
    let to_ready = world.container.file("near.toml", in_file);
    let certificate = format!("rediss://127.0.0.1:1#ca={config}");
    let (ready, to_ready) = (world.far("ready"), to_ready.to_str().unwrap());
    world.fuse.hang();
    let mut starved = 0;
    for (args, variable) in [
        (&["run", "worker", "--config", &config][..], None),
        (
            &["run", "worker", "--when", &near, "--config", &config],
            None,
        ),
        (&["run", "worker"], Some(("READY_CONFIG", &config))),
        (&["run", "worker"], Some(("READY_STORE_FILE", &url))),
        (&["run", "worker", "--dir", &ready], None),
        (&["run", "worker", "--config", to_ready], None),
        (&["run", "worker", "--store", &certificate], None),
        (&["wait", "--for=60s", &near, "--config", &config], None),
        (&["wait", "--for=60s"], Some(("REDIS_URL_FILE", &url))),
    ] {
        let mut probe = world.probe(&program.behind(args));
        if args.contains(&to_ready) {
            // The environment goes before the file.
            probe.env_remove("READY_DIR");
        }
        if let Some((name, value)) = variable {
            probe.env(name, value);
        }
        let run = unless_starved(&mut probe, &mut starved);
        let says = format!("{} does not answer", world.point());
        assert_mentions(&run, 1, &["ready-probe: ", &says]);
        assert_in_time(&run);
        assert!(!program.runs.exists(), "{args:?}");
    }
    let left = world.left().len();
    assert!((1..=4 + starved).contains(&left), "{left}");
}

#[test]
fn a_program_whose_settings_lie_far_and_answer_is_started_once() {
    let world = World::new();
    let config = world.file("toml", "timeout = \"20s\"\n");
    let url = world.file("url", "redis://127.0.0.1:1");
    let wrong = world.file("wrong", "colour = 1\n");
    let missing = world.far("nothing");
    fs::create_dir(world.container.path("behind/ready")).unwrap();
    let ready = world.far("ready");
    let near = format!("file:{}", world.container.file("near", "").display());
    let program = Program::of(&world);
    for args in [
        &["run", "worker", "--config", &config][..],
        &["run", "worker", "--config", &config, "--when", &near],
        // Nothing can be written there: that keeps no program from running.
        &["run", "worker", "--config", &config, "--dir", &ready],
        &["wait", "--for=60s", &near, "--config", &config],
    ] {
        let mut probe = world.probe(&program.behind(args));
        probe.env_remove("READY_TIMEOUT");
        program.assert_ran_once(&run(&mut probe));
        // As a daemon leaves it to what it starts: nobody is told how a child has ended.
        let ignored = through("env", &["--ignore-signal=CHLD"], &probe);
        program.assert_ran_once(&run(&mut { ignored }));
        // By way of a variable, too.
        probe.env("READY_STORE_FILE", &url);
        program.assert_ran_once(&run(&mut probe));
    }
    // What is wrong with them is said once, as if they were near.
    for (file, status, says) in [(&missing, 64, "No such file"), (&wrong, 78, "colour")] {
        for args in [&["run", "worker"][..], &["wait", "--for=60s", &near]] {
            let args = [args, &["--config", file]].concat();
            let said = run(&mut world.probe(&program.behind(&args)));
            assert_eq!(said.code(), status, "{said:?}");
            assert_eq!(said.stderr.matches(says).count(), 1, "{said:?}");
            assert!(!program.runs.exists(), "{args:?}");
        }
    }
    assert!(world.left().is_empty());
}

/// The test stands for a parent that has used up most of its time before it left the command to a child.
#[test]
fn a_child_that_a_command_was_left_to_keeps_its_parents_time() {
    let container = Container::new();
    let silent = Hostile::tcp(Behaviour::Silent);
    let target = format!("redis://{}", silent.addr());
    for args in [&[target.as_str()][..], &["list", "--store", &target]] {
        let began = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let began_ms = (began.tv_sec - 55) * 1_000;
        let mut probe = container.probe(args);
        probe.env("READY_TIMEOUT", "60s").env(
            "READY_PROBE_CHILD",
            format!("{}:relays {began_ms}", std::process::id()),
        );
        let run = run_within(&mut probe, Duration::from_secs(120));
        assert_eq!(run.code(), 1, "{run:?}");
        assert!(run.stdout.contains("no answer within 1m"), "{run:?}");
        // Five seconds were left.
        assert!(run.elapsed < Duration::from_secs(40), "{run:?}");
    }
}
