//! Host names are found whatever `/etc/nsswitch.conf` names.
//!
//! A static glibc loads the modules that this file names from the image, and they load the image's
//! libc: of another version, or with threads, that ends the process by a signal.

use std::{fs, path::Path, process::Command};

use ready_probe_test_support::{
    docker::{Container, Engine, ImageRoot, Network, RunOptions},
    process::{Run, probe_binary, run},
};

/// As Fedora, Arch and systemd's documentation have it.
const NSSWITCH: &str =
    "passwd: files systemd\nhosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n";

struct World {
    network: Network,
    redis: Container,
}

fn world() -> World {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let network = Network::create(engine, "names");
    let redis = RunOptions::image("redis:7")
        .network(&network, "redis")
        .command(["--save", ""]);
    World {
        redis: engine.run(redis),
        network,
    }
}

impl World {
    /// Waits for Redis, by name, in a container of `image`.
    fn probe(&self, image: &str) -> Run {
        let options = RunOptions::image(image).network(&self.network, "client");
        let probe = ["/ready-probe", "wait", "--for=20s", "redis://redis:6379"];
        Engine::shared().run_to_end(options.command(probe))
    }
}

#[track_caller]
fn assert_found(world: &World, probe: &Run) {
    assert_eq!(
        probe.code(),
        0,
        "{probe:?}; Redis is {}",
        world.redis.status()
    );
    assert!(probe.stdout.starts_with("healthy: "), "{probe:?}");
}

#[test]
fn modules_that_are_not_there_are_not_missed() {
    let root = ImageRoot::new().file(&probe_binary(), "/ready-probe").text(
        "/etc/nsswitch.conf",
        0o644,
        NSSWITCH,
    );
    let tag = "ready-probe-test/nsswitch";
    Engine::shared().build_scratch(tag, &root, "");
    let world = world();
    assert_found(&world, &world.probe(tag));
}

#[test]
fn modules_of_the_image_are_not_loaded() {
    let tag = "ready-probe-test/nss-modules";
    let source =
        "#include <unistd.h>\n__attribute__((constructor)) static void load(void) { _exit(99); }\n";
    image_with_modules(tag, |module| compile(source, module));
    let world = world();
    assert_found(&world, &world.probe(tag));
}

#[test]
fn corrupt_modules_do_no_harm() {
    let tag = "ready-probe-test/nss-corrupt";
    image_with_modules(tag, |module| {
        compile("void nothing(void) {}\n", module);
        let length = fs::metadata(module).unwrap().len();
        // Its headers promise pages that the file does not have.
        fs::File::options()
            .write(true)
            .open(module)
            .unwrap()
            .set_len(length / 4)
            .unwrap();
    });
    let world = world();
    assert_found(&world, &world.probe(tag));
}

fn compile(source: &str, module: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("module.c");
    fs::write(&file, source).unwrap();
    let built = run(Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(module)
        .arg(file));
    assert_eq!(
        built.code(),
        0,
        "{built:?}; install it: apt-get install gcc libc6-dev"
    );
}

/// Debian with libc, [`NSSWITCH`], and the modules that this names, each made by `make`.
fn image_with_modules(tag: &str, make: impl Fn(&Path)) {
    let engine = Engine::shared();
    let base = "ready-probe-test/debian-libc";
    engine.debian_image(base, &["base-files", "libc6"], &[]);
    let context = tempfile::tempdir().unwrap();
    let place = |name: &str| context.path().join(name);
    fs::copy(probe_binary(), place("ready-probe")).unwrap();
    fs::write(place("nsswitch.conf"), NSSWITCH).unwrap();
    fs::create_dir(place("modules")).unwrap();
    for module in ["mymachines", "resolve", "myhostname"] {
        make(&place("modules").join(format!("libnss_{module}.so.2")));
    }
    // Where Debian's libc looks for them.
    let modules = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let dockerfile = place("Dockerfile");
    let text = format!(
        "FROM {base}\nCOPY nsswitch.conf /etc/\nCOPY modules {modules}/\nCOPY ready-probe /\n"
    );
    fs::write(&dockerfile, text).unwrap();
    engine.build(tag, context.path(), &dockerfile, &[]);
}

#[test]
fn localhost_without_ipv6_is_one_address() {
    // Containers have no ::1 unless the engine has IPv6 switched on.
    let root = ImageRoot::new().file(&probe_binary(), "/ready-probe");
    let tag = "ready-probe-test/localhost";
    Engine::shared().build_scratch(tag, &root, "");
    let probe = Engine::shared()
        .run_to_end(RunOptions::image(tag).command(["/ready-probe", "tcp://localhost:1"]));
    assert_eq!(
        probe.first_line(),
        "unhealthy: tcp://localhost:1: connection refused",
        "{probe:?}"
    );
}
