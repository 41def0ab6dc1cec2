//! `ready-keeper` over a real engine: what it restarts, what it leaves alone, and what it asks.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use ready_probe_test_support::{
    docker::{Container, Engine, Network, RunOptions, SocketProxy},
    ntfy::NtfyServer,
    process::{Guard, Run, keeper_binary, run_within, wait_until},
};
use serde_json::Value;

use crate::fixture::{LIMIT, agent, agent_image, kill_agent, tell};
use crate::recipe_fixture::redis;

/// The four requests that `docs/keeper.md` names, and no other.
pub fn is_documented(method: &str, path: &str) -> bool {
    let is_name = |name: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        !name.is_empty() && name.chars().all(is_part)
    };
    let is_id = |id: &str| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let within = |rest: &str, end: &str, is_meant: &dyn Fn(&str) -> bool| {
        rest.split_once(end)
            .is_some_and(|(what, rest)| is_meant(what) && rest.is_empty())
    };
    match (method, path.strip_prefix("/containers/")) {
        ("GET", None) => path == "/_ping",
        ("GET", Some(rest)) => {
            rest.starts_with("json?all=1&filters=%7B%22label%22") || within(rest, "/json", &is_name)
        }
        ("POST", Some(rest)) => {
            let restart = rest.split_once("/restart?t=");
            restart.is_some_and(|(id, t)| is_id(id) && is_number(t))
        }
        _ => false,
    }
}

/// A keeper of containers, as a process beside their engine; what it may ask, and whom it tells.
struct Keeper {
    dir: tempfile::TempDir,
    proxy: SocketProxy,
    ntfy: NtfyServer,
}

impl Keeper {
    /// Not started yet. `services` are tables of its settings.
    fn new(services: &str) -> Self {
        let proxy = SocketProxy::start(Engine::shared(), is_documented);
        let (dir, ntfy) = (tempfile::tempdir().unwrap(), NtfyServer::start());
        let text = format!(
            "[keeper]\ninterval = \"1s\"\nengine = \"tcp://{}\"\n[alert.ops]\nkind = \"ntfy\"\nurl = \"{}/alerts\"\n{services}",
            proxy.address(),
            ntfy.url()
        );
        fs::write(dir.path().join("services.toml"), text).unwrap();
        Self { dir, proxy, ntfy }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(keeper_binary());
        command
            .args(args)
            .arg("--state")
            .arg(self.path("state"))
            .env_clear()
            .env("READY_DIR", self.path("signals"));
        command
    }

    fn start(&self) -> Guard {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut command = self.command(&["run"]);
        command
            .arg("--config")
            .arg(self.path("services.toml"))
            .arg("--manual-stop")
            .arg(self.path("stopped"))
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Guard::spawn(&mut command)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn order(&self, args: &[&str]) -> Run {
        run_within(&mut self.command(args), LIMIT)
    }

    /// Where a service stands, and why.
    fn status(&self, service: &str) -> (String, String) {
        let run = self.order(&["status", service, "--format", "json"]);
        let Ok(status) = serde_json::from_str::<Value>(&run.stdout) else {
            return (String::new(), format!("{run:?}"));
        };
        let its = &status["services"][0];
        let text = |key: &str| its[key].as_str().unwrap_or_default().to_owned();
        (text("state"), text("reason"))
    }

    #[track_caller]
    fn wait_for(&self, service: &str, state: &str, reason: &str) {
        let mut last = None;
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let (is, why) = self.status(service);
            if is == state && why.contains(reason) {
                return;
            }
            last = Some((is, why));
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!(
            "{service} is not {state} {reason:?}, but {last:?}:\n{}",
            self.log()
        );
    }

    /// The containers that it had restarted, by the request.
    fn restarts(&self) -> Vec<String> {
        let asked = self.proxy.asked();
        let posts = asked
            .iter()
            .filter_map(|line| line.strip_prefix("POST /containers/"));
        posts
            .map(|rest| rest.split('/').next().unwrap().to_owned())
            .collect()
    }

    #[track_caller]
    fn assert_asked_no_more_than_it_may(&self) {
        assert_eq!(self.proxy.refused(), [""; 0]);
    }

    /// What people were told.
    fn told(&self) -> Vec<String> {
        let messages = self.ntfy.messages();
        let title = |message: &Value| message["title"].as_str().unwrap().to_owned();
        messages.iter().map(title).collect()
    }
}

/// A service of a container, with these keys.
fn service(name: &str, container: &str, keys: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\ncontainer = \"{container}\"\nstartup = \"3s\"\nalert = [\"ops\"]\n{keys}\n"
    )
}

fn name_of(container: &Container) -> String {
    let inspected = container.inspect();
    inspected["Name"]
        .as_str()
        .unwrap()
        .trim_start_matches('/')
        .to_owned()
}

#[test]
fn what_a_person_or_the_engine_has_in_hand_is_left_alone() {
    let engine = Engine::shared();
    let paused = engine.run(agent("keep-paused"));
    let stopped = engine.run(agent("keep-stopped").restart_policy("unless-stopped"));
    let ended = engine.run(agent("keep-ended"));
    let opted = engine.run(agent("keep-opted"));
    let healthy = engine.run(agent("keep-healthy"));
    let crashes = RunOptions::image(agent_image()).restart_policy("always");
    let crashes = engine.run(
        crashes
            .name("keep-crashes")
            .command(["/rust-agent", "no-such-verb"]),
    );
    let ghost = engine.unique_name("keep-ghost");
    let all = [
        ("paused", name_of(&paused), ""),
        ("stopped", name_of(&stopped), ""),
        ("ended", name_of(&ended), ""),
        ("opted", name_of(&opted), "restart_exited = true"),
        ("healthy", name_of(&healthy), ""),
        ("crashes", name_of(&crashes), "restart_exited = true"),
        ("ghost", ghost, "restart_exited = true"),
    ];
    let services = all
        .iter()
        .map(|(name, container, keys)| service(name, container, keys));
    let keeper = Keeper::new(&services.collect::<String>());
    let _run = keeper.start();
    for name in ["paused", "stopped", "ended", "opted", "healthy"] {
        keeper.wait_for(name, "healthy", "");
    }
    paused.pause();
    stopped.stop();
    ended.kill("KILL");
    opted.kill("KILL");
    // One that was never there is told of after its startup, as one that has ended.
    keeper.wait_for("ghost", "held", "no such container");
    keeper.wait_for("ended", "held", "exited with status 137");
    keeper.wait_for(
        "stopped",
        "starting",
        "its restart policy is unless-stopped",
    );
    let (_, reason) = keeper.status("paused");
    assert_eq!(reason, "paused", "{}", keeper.log());
    let (state, reason) = keeper.status("crashes");
    assert_eq!(state, "starting", "{reason}");
    // That one was asked for.
    wait_until(LIMIT, "the one that opted in to be restarted", || {
        keeper
            .log()
            .contains("Successfully recovered opted")
            .then_some(())
    });
    assert_eq!(opted.status(), "running");
    assert_eq!(keeper.restarts(), [opted.id()], "{}", keeper.log());
    let held = keeper.status("ended");
    assert_eq!(held.0, "held");

    // Whoever starts it, or makes another one of that name, has acted.
    ended.start();
    keeper.wait_for("ended", "healthy", "");
    engine.docker(["rm", "--force", &name_of(&healthy)]);
    let options = agent("keep-healthy-again").env("AGENT_LOAD", "1h");
    let again = engine.run(options);
    engine.docker(["rename", again.id(), &all[4].1]);
    keeper.wait_for(
        "healthy",
        "starting",
        "unhealthy: starting: agent translator: starting",
    );
    paused.unpause();
    keeper.wait_for("paused", "healthy", "");
    assert_eq!(keeper.restarts(), [opted.id()], "{}", keeper.log());
    keeper.assert_asked_no_more_than_it_may();
    // The loop waits for what else comes within ten seconds.
    let told = wait_until(LIMIT, "people to be told", || {
        let told = keeper.told().join("\n");
        (told.contains("ended") && told.contains("ghost")).then_some(told)
    });
    let bodies = keeper
        .ntfy
        .messages()
        .iter()
        .map(Value::to_string)
        .collect::<String>();
    for said in [
        format!("View logs: docker logs --tail 50 {}", name_of(&ended)),
        format!("Restart command: docker restart {}", name_of(&ended)),
        "its container has ended, which somebody may have meant".to_owned(),
    ] {
        assert!(bodies.contains(&said), "{said}: {bodies}");
    }
    for quiet in ["paused", "stopped", "crashes", "healthy", "opted"] {
        assert!(!told.contains(quiet), "{told}");
    }
}

/// As a fleet of agents lives through it: what they need is away for longer than their grace, while one loads, one
/// reloads, one drains, and one of them loses its process.
#[test]
fn a_dependency_that_is_away_restarts_nobody_and_one_that_was_killed_is_restarted_once() {
    let engine = Engine::shared();
    let network = Network::create(engine, "keep-fleet");
    let redis = redis(&network);
    let label = engine.unique_name("fleet");
    let start = |name: &str, command: &[&str]| {
        let options = agent(name)
            .env("REDIS_URL", "redis://redis:6379")
            .env("READY_GRACE", "3s");
        let options = options.flag(format!("--label=ready-keeper={label}"));
        let options = match name {
            "fleet-loads" => options.env("AGENT_LOAD", "1h"),
            _ => options,
        };
        engine.run(
            options
                .network(&network, name)
                .command(command.iter().copied()),
        )
    };
    let idle = start("fleet-idle", &["/rust-agent"]);
    let loads = start("fleet-loads", &["/rust-agent"]);
    let reloads = start("fleet-reloads", &["/rust-agent"]);
    let drains = start("fleet-drains", &["/rust-agent"]);
    let killed = start(
        "fleet-killed",
        &["/rust-agent", "supervise", "translator=5555"],
    );
    let fleet = [&idle, &reloads, &drains, &killed];
    for container in fleet {
        container.wait_health("healthy", LIMIT);
    }
    loads.wait_health("unhealthy", LIMIT);
    let lives = || fleet.map(Container::started);
    let before = (lives(), loads.started());

    let keeper = Keeper::new(&format!(
        "{}[[service]]\nlabel = \"ready-keeper={label}\"\nstartup = \"3s\"\nalert = [\"ops\"]\n",
        service("redis", &name_of(&redis), "")
    ));
    let _run = keeper.start();
    for container in fleet {
        keeper.wait_for(&name_of(container), "healthy", "");
    }
    assert_eq!(tell(&reloads, "reload a new model"), "not_ready");
    assert_eq!(tell(&drains, "hang 1h"), "hanging for 1h");
    drains.kill("TERM");
    redis.stop();
    kill_agent(&killed, "translator");
    for (container, why) in [
        (&idle, "unhealthy: dependency redis://redis:6379: "),
        (
            &reloads,
            "unhealthy: agent translator: not_ready: a new model",
        ),
        (&drains, "unhealthy: agent translator: stopping"),
        (&killed, "unhealthy: agent translator: process "),
        (&loads, "unhealthy: starting: agent translator: starting"),
    ] {
        wait_until(LIMIT, why, || {
            let (_, reason) = keeper.status(&name_of(container));
            reason.contains(why).then_some(())
        });
    }
    // It is proven after 30 s of saying so. The others have as long.
    wait_until(LIMIT, "the killed one to be restarted", || {
        (keeper.restarts() == [killed.id()]).then_some(())
    });
    let told = wait_until(LIMIT, "people to be told", || {
        Some(keeper.told()).filter(|told| !told.is_empty())
    });
    assert_eq!(told, ["redis is down and not restarted"]);
    let reason = keeper.status(&name_of(&idle));
    assert!(reason.1.contains("dependency redis"), "{reason:?}");

    redis.start();
    for container in [&idle, &killed] {
        keeper.wait_for(
            &name_of(container),
            if container.id() == killed.id() {
                "probation"
            } else {
                "healthy"
            },
            "",
        );
    }
    let recovered = format!("Successfully recovered {}", name_of(&killed));
    assert!(keeper.log().contains(&recovered), "{}", keeper.log());
    assert_eq!(keeper.restarts(), [killed.id()], "{}", keeper.log());
    let after = (lives(), loads.started());
    assert_eq!((&before.0[..3], before.1), (&after.0[..3], after.1));
    assert!(after.0[3] > before.0[3]);
    wait_until(LIMIT, "people to be told of its end", || {
        (keeper.told().len() > 1).then_some(())
    });
    assert_eq!(keeper.told()[1..], ["redis works again"]);
    keeper.assert_asked_no_more_than_it_may();
}
