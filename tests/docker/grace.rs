//! A Redis that restarts does not take healthy agents down, unless it stays away beyond the grace.

use ready_probe_test_support::docker::{Container, Engine, HealthLog, Network, RunOptions};

use crate::fixture::{Probes, agent, says};

struct World {
    agent: Container,
    redis: Container,
    // Dropped last.
    _network: Network,
}

/// An agent that needs the Redis server `redis`.
#[track_caller]
fn world(name: &str, configure: impl FnOnce(RunOptions) -> RunOptions) -> World {
    let engine = Engine::shared();
    engine.server_image("redis:7");
    let network = Network::create(engine, name);
    let redis = RunOptions::image("redis:7")
        .name("redis")
        .network(&network, "redis")
        .command(["--save", ""]);
    let redis = engine.run(redis);
    let agent = agent(name)
        .network(&network, "agent")
        .env("REDIS_URL", "redis://redis:6379");
    let agent = engine.run(configure(agent));
    World {
        agent,
        redis,
        _network: network,
    }
}

/// Probes before the first healthy one: Redis may still be coming up.
fn coming_up(probe: &HealthLog) -> bool {
    says(probe, "starting: ") || says(probe, "unhealthy: dependency redis://redis:6379: ")
}

#[test]
fn redis_that_restarts_within_the_grace_is_degraded_never_unhealthy() {
    let world = world("restart", |options| options);
    let mut probes = Probes::of(&world.agent);
    probes.wait("Redis and the agent", coming_up, |probe| {
        says(probe, "healthy: ")
    });
    let healthy = |probe: &HealthLog| says(probe, "healthy: ");

    world.redis.stop();
    let degraded = probes.wait("the outage", healthy, |probe| {
        says(probe, "degraded: dependency redis://redis:6379: ")
    });
    let first_line = degraded.output.lines().next().unwrap();
    assert!(first_line.contains(" of 3m grace"), "{degraded:?}");
    probes.wait_each(2, "the outage to be borne", |probe| {
        says(probe, "degraded: dependency redis://redis:6379: ")
    });
    world.redis.start();
    probes.wait(
        "Redis to be back",
        |probe| says(probe, "degraded: dependency redis://redis:6379: "),
        healthy,
    );
    assert_eq!(world.agent.health().status, "healthy");
}

#[test]
fn redis_that_stays_away_beyond_the_grace_is_unhealthy() {
    let world = world("gone", |options| options.env("READY_GRACE", "2s"));
    let mut probes = Probes::of(&world.agent);
    probes.wait("Redis and the agent", coming_up, |probe| {
        says(probe, "healthy: ")
    });

    world.redis.stop();
    let gone = probes.wait(
        "the end of the grace",
        |probe| probe.exit_code == 0,
        |probe| says(probe, "unhealthy: dependency redis://redis:6379: "),
    );
    assert!(gone.output.contains("beyond its grace of 2s"), "{gone:?}");
    let all = probes.all();
    let degraded = all.iter().filter(|probe| says(probe, "degraded: "));
    assert_ne!(degraded.count(), 0, "{all:#?}");
    assert_eq!(world.agent.health().status, "unhealthy");
}
