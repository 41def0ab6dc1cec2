//! The manifests of `examples/kubernetes`, as far as `podman kube play` of 4.3 knows them. It ignores Services,
//! PodDisruptionBudgets, startup and readiness probes and preStop; it turns liveness into its own health check, and
//! publishes each `containerPort` on the host, so that there can be one replica. A pod is found in DNS under
//! its own name. Init containers it starts again and again where the pod's policy is `Always`, which a Deployment
//! has to have.

use std::{fs, path::Path};

use ready_probe_test_support::{
    docker::{ImageRoot, REDIS_INSTRUCTIONS, find_program},
    podman::Podman,
    process::{probe_binary, wait_until},
};

use crate::fixture::{
    LIMIT, TRANSLATOR, agent_root, agent_root_with_shell, ask, check, health, manifest, tell,
};

const STARTS_AGENT: &str = "CMD [\"/rust-agent\"]";
/// The container `translator` of the first pod of the Deployment `translator`.
const AGENT: &str = "translator-pod-0-translator";

/// A manifest with one replica, changed further by `change`.
fn adapted(name: &str, folder: &Path, change: impl Fn(String) -> String) -> std::path::PathBuf {
    let text = fs::read_to_string(manifest(name)).unwrap();
    let adapted = folder.join(name);
    fs::write(&adapted, change(text.replace("replicas: 2", "replicas: 1"))).unwrap();
    adapted
}

/// The address of the first pod of a Deployment.
fn ip_of(podman: &Podman, deployment: &str) -> String {
    let pod = podman.podman([
        "pod",
        "inspect",
        &format!("{deployment}-pod-0"),
        "--format={{.InfraContainerID}}",
    ]);
    let infra = podman.inspect(&pod);
    let networks = infra["NetworkSettings"]["Networks"].as_object().unwrap();
    let network = networks.values().next().unwrap();
    network["IPAddress"].as_str().unwrap().to_owned()
}

/// Podman 4.3 ends a pod when its last container has ended, sometimes while it starts that container anew. A
/// container is ended by nothing else here but its health check.
fn start_what_podman_ended(podman: &Podman, pod: &str) {
    let state = podman.podman(["pod", "inspect", pod, "--format={{.State}}"]);
    if state == "Exited" {
        // It may be about to start by itself: the next look tells.
        podman.try_podman(["pod", "start", pod]);
    }
}

#[test]
fn an_agent_is_healthy_and_restarted_when_it_hangs() {
    let podman = Podman::start();
    podman.build(TRANSLATOR, &agent_root_with_shell(), STARTS_AGENT);
    let folder = tempfile::tempdir().unwrap();
    podman.play(&adapted("agent.yml", folder.path(), |text| {
        text.replace("value: 10s", "value: 1s")
    }));
    let check_of = podman.inspect(AGENT)["Config"]["Healthcheck"].clone();
    let shell = [
        "CMD-SHELL",
        "/ready-probe",
        "agent:translator",
        "||",
        "exit",
        "1",
    ];
    assert_eq!(check_of["Test"], serde_json::json!(shell));
    assert_eq!(check_of["Interval"], 10_000_000_000_u64);
    assert_eq!(check_of["Timeout"], 7_000_000_000_u64);
    assert_eq!(check_of["Retries"], 3);

    wait_until(LIMIT, "the agent to be healthy", || {
        (check(&podman, AGENT).code() == 0).then_some(())
    });
    assert!(
        health(&podman, AGENT)
            .1
            .starts_with("healthy: 1 check passes")
    );
    assert_eq!(ask(&podman, AGENT, &["agent:translator"]).code(), 0);

    let started = podman.inspect(AGENT)["State"]["StartedAt"].clone();
    assert_eq!(
        tell(&podman, &ip_of(&podman, "translator"), "hang 1h"),
        "hanging for 1h"
    );
    wait_until(LIMIT, "the agent to be stalled", || {
        (ask(&podman, AGENT, &["agent:translator"]).code() == 1).then_some(())
    });
    // The third failure does it; on a busy machine Podman may have missed one.
    wait_until(LIMIT, "the container to be started anew", || {
        check(&podman, AGENT);
        start_what_podman_ended(&podman, "translator-pod-0");
        (podman.inspect(AGENT)["State"]["StartedAt"] != started).then_some(())
    });
    wait_until(LIMIT, "the agent to be healthy again", || {
        start_what_podman_ended(&podman, "translator-pod-0");
        (check(&podman, AGENT).code() == 0).then_some(())
    });
}

#[test]
fn in_an_image_without_a_shell_liveness_fails_without_a_word() {
    let podman = Podman::start();
    podman.build(TRANSLATOR, &agent_root(), STARTS_AGENT);
    let folder = tempfile::tempdir().unwrap();
    podman.play(&adapted("agent.yml", folder.path(), |text| text));
    wait_until(LIMIT, "the agent to be ready", || {
        (ask(&podman, AGENT, &["agent:translator"]).code() == 0).then_some(())
    });
    assert_eq!(check(&podman, AGENT).code(), 1);
    assert_eq!(health(&podman, AGENT).1, "");
}

/// What the readiness probes of `fleet.yml` ask.
const READINESS: [(&str, [&str; 2]); 2] = [
    (
        "memory-system",
        [
            "agent:memory-system",
            "peer:translator#grace=forever&timeout=1s",
        ],
    ),
    (
        "translator",
        [
            "agent:translator",
            "peer:memory-system#grace=forever&timeout=1s",
        ],
    ),
];

#[test]
fn a_fleet_of_two_that_need_each_other_outlives_its_redis() {
    let podman = Podman::start();
    podman.build(TRANSLATOR, &agent_root(), STARTS_AGENT);
    let redis = ImageRoot::redis_server(&find_program("redis-server"));
    podman.build("docker.io/library/redis:7", &redis, REDIS_INSTRUCTIONS);
    podman.build(
        "registry.example.com/ready-probe:1.0",
        &ImageRoot::new().file(&probe_binary(), "/ready-probe"),
        "ENTRYPOINT [\"/ready-probe\"]",
    );
    let folder = tempfile::tempdir().unwrap();
    let fleet = adapted("fleet.yml", folder.path(), |text| {
        for (_, asks) in READINESS {
            let command = format!("command: [/ready-probe, \"{}\", \"{}\"]", asks[0], asks[1]);
            assert!(text.contains(&command), "not in fleet.yml: {command}");
        }
        // There are no Services; a pod has a name.
        text.replace("redis://redis:6379", "redis://redis-pod-0:6379")
            .replace(
                "      initContainers:\n",
                "      restartPolicy: OnFailure\n      initContainers:\n",
            )
    });
    podman.play(&fleet);

    // The init container has put the probe into an image that has none.
    let redis = "redis-pod-0-redis";
    wait_until(LIMIT, "Redis to be healthy", || {
        (check(&podman, redis).code() == 0).then_some(())
    });
    assert!(
        health(&podman, redis)
            .1
            .starts_with("healthy: 1 check passes")
    );

    let readiness = |agent: usize| {
        let (name, asks) = READINESS[agent];
        ask(&podman, &format!("{name}-pod-0-{name}"), &asks)
    };
    for agent in [0, 1] {
        wait_until(LIMIT, "an agent to be in its Service", || {
            (readiness(agent).code() == 0).then_some(())
        });
    }

    // The peer's "no" counts at once.
    let memory = ip_of(&podman, "memory-system");
    assert_eq!(tell(&podman, &memory, "reload new weights"), "not_ready");
    wait_until(LIMIT, "the peer's word to be heard", || {
        let said = readiness(1);
        let first = said.stdout.lines().next().unwrap_or_default();
        let is_heard = first.starts_with("unhealthy: dependency peer:memory-system")
            && first.ends_with("not_ready: new weights");
        (said.code() == 1 && is_heard).then_some(())
    });
    assert_eq!(tell(&podman, &memory, "resume"), "ready");
    wait_until(LIMIT, "the peer to be ready again", || {
        (readiness(1).code() == 0).then_some(())
    });

    // What docs/kubernetes.md warns of, and what it says instead.
    let translator = "translator-pod-0-translator";
    let included = ["agent:translator", "redis://redis-pod-0:6379#grace=1s"];
    let tolerated = [
        "agent:translator",
        "redis://redis-pod-0:6379#grace=forever&timeout=1s",
    ];
    let optional = [
        "agent:translator",
        "redis://redis-pod-0:6379#optional&timeout=1s",
    ];
    for asks in [included, tolerated, optional] {
        assert_eq!(ask(&podman, translator, &asks).code(), 0);
    }
    podman.podman(["pod", "stop", "--time=10", "redis-pod-0"]);
    wait_until(LIMIT, "the grace to end", || {
        (ask(&podman, translator, &included).code() == 1).then_some(())
    });
    for asks in [tolerated, optional] {
        let said = ask(&podman, translator, &asks);
        assert_eq!(said.code(), 0, "{said:?}");
        assert!(said.stdout.starts_with("degraded: "), "{said:?}");
    }
    for agent in [0, 1] {
        let said = readiness(agent);
        assert_eq!(said.code(), 0, "{said:?}");
        assert!(said.stdout.starts_with("degraded: "), "{said:?}");
    }
}
