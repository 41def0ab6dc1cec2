//! What docs/operations.md says of Docker, and the lines in it that are to be pasted.

use std::{process::Command, time::Duration};

use ready_probe_test_support::{
    docker::Engine,
    process::{run_within, wait_until, workspace_root},
};

use crate::fixture::{LIMIT, Probes, agent, kill_agent, says, tell};

/// The command of the page that begins so.
fn from_the_page(beginning: &str) -> String {
    let page = std::fs::read_to_string(workspace_root().join("docs/operations.md")).unwrap();
    let mut commands = page.lines().filter_map(|line| line.strip_prefix("$ "));
    let command = commands.find(|command| command.starts_with(beginning));
    let command = command.unwrap_or_else(|| panic!("no `{beginning}…` in docs/operations.md"));
    command.to_owned()
}

/// What a command of the page prints. On an engine that others use, too, containers go between two steps
/// of it: that ends it with another status than 0, and costs no line of the others.
fn pasted(command: &str) -> String {
    let mut shell: Command = Engine::shared().command("sh");
    run_within(shell.args(["-c", command]), LIMIT).stdout
}

fn name_of(container: &ready_probe_test_support::docker::Container) -> String {
    let inspected = container.inspect();
    let name = inspected["Name"].as_str().unwrap();
    name.trim_start_matches('/').to_owned()
}

#[test]
fn a_paused_container_is_unhealthy_at_once_and_healthy_with_its_next_probe() {
    let container = Engine::shared().run(agent("pause").health_interval(Duration::from_secs(1)));
    let mut probes = Probes::of(&container);
    probes.wait_healthy();
    container.pause();
    let paused = container.wait_health("unhealthy", LIMIT);
    let last = paused.log.last().unwrap();
    assert!(says(last, "healthy: "), "{paused:?}");
    let command = from_the_page("docker events --filter event=health_status");
    let name = name_of(&container);
    let told = pasted(&format!("{command} --since 10m --until 0s"));
    let mut ours = told.lines().filter(|line| line.contains(&name));
    assert!(
        ours.all(|line| line.contains("health_status: healthy")),
        "{told}"
    );
    container.unpause();
    container.wait_health("healthy", LIMIT);
    assert!(says(&container.wait_next_probe(LIMIT), "healthy: "));
}

#[test]
fn one_line_prints_every_unhealthy_container_and_why() {
    let engine = Engine::shared();
    let dead = engine.run(agent("dead").command(["/rust-agent", "supervise", "translator"]));
    let (busy, well) = (engine.run(agent("busy")), engine.run(agent("well")));
    for container in [&dead, &busy, &well] {
        container.wait_health("healthy", LIMIT);
    }
    let pid = kill_agent(&dead, "translator");
    assert_eq!(tell(&busy, "reload swapping the model"), "not_ready");
    for container in [&dead, &busy] {
        container.wait_health("unhealthy", LIMIT);
    }
    let printed = pasted(&from_the_page(
        "docker ps --quiet --filter health=unhealthy",
    ));
    let line_of = |container| {
        let start = format!("/{}: ", name_of(container));
        printed.lines().find_map(|line| line.strip_prefix(&start))
    };
    let gone = format!("unhealthy: agent translator: process {pid} is gone");
    assert!(line_of(&dead).unwrap().starts_with(&gone), "{printed}");
    let said = "unhealthy: agent translator: not_ready: swapping the model";
    assert!(line_of(&busy).unwrap().starts_with(said), "{printed}");
    assert_eq!(line_of(&well), None, "{printed}");
}

#[test]
fn what_a_check_costs_is_measured_by_the_lines_of_the_page() {
    let interval = Duration::from_millis(500);
    let container = Engine::shared().run(agent("cost").health_interval(interval));
    container.wait_health("healthy", LIMIT);
    let page = std::fs::read_to_string(workspace_root().join("docs/operations.md")).unwrap();
    let lines = page.lines().filter_map(|line| line.strip_prefix("# "));
    let lines = lines.skip_while(|line| !line.starts_with("cpu() {"));
    let measure: Vec<&str> = lines.take(2).collect();
    // A shorter while than one waits for by hand.
    let measure = measure.join("\n").replace("sleep 60", "sleep 6");
    let measure = measure.replace("60s", "6s");
    // Containers of others that end meanwhile take what they have used with them.
    wait_until(LIMIT, "a measurement", || {
        let measured = pasted(&measure);
        let (checks, rest) = measured.split_once(" checks, ")?;
        let ms = rest.trim_end().strip_suffix(" ms of CPU each")?;
        let (checks, ms) = (checks.parse::<u32>().ok()?, ms.parse::<i64>().ok()?);
        (checks > 0 && ms > 0).then_some(())
    });
}

#[test]
fn docker_tells_when_the_health_of_a_container_changes() {
    let container = Engine::shared().run(agent("events"));
    container.wait_health("healthy", LIMIT);
    assert_eq!(tell(&container, "reload new weights"), "not_ready");
    container.wait_health("unhealthy", LIMIT);
    let command = from_the_page("docker events --filter event=health_status");
    let name = name_of(&container);
    wait_until(LIMIT, "both changes to be told", || {
        // What has been so far, instead of what will be.
        let told = pasted(&format!("{command} --since 10m --until 0s"));
        let ours: Vec<&str> = told.lines().filter(|line| line.contains(&name)).collect();
        let (first, last) = (ours.first()?, ours.last()?);
        let changes = (
            first.contains("health_status: healthy"),
            last.contains("health_status: unhealthy"),
        );
        (changes == (true, true)).then_some(())
    });
}
