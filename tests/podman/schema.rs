//! The manifests are what the API of Kubernetes takes, and docs/kubernetes.md counts with their figures.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use ready_probe_test_support::{
    pages::block,
    process::{Run, run_within, workspace_root},
};

use crate::fixture::{LIMIT, manifest, pod_of_the_page};

const MANIFESTS: [&str; 2] = ["agent.yml", "fleet.yml"];
/// The first version with `preStop.sleep` as it is by default, to the newest that the validator knows.
const VERSIONS: std::ops::RangeInclusive<u32> = 30..=37;

/// Validates files strictly: what the schema does not name is an error.
fn validate(minor: u32, files: &[&Path]) -> Run {
    let python = workspace_root().join("target/venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: `make servers` makes it",
        python.display()
    );
    let mut validator = Command::new(python);
    validator
        .args([
            "-m",
            "kubernetes_validate",
            "--strict",
            "--kubernetes-version",
        ])
        .arg(format!("1.{minor}"))
        .args(files);
    run_within(&mut validator, LIMIT)
}

/// A manifest, changed, in a folder.
fn changed(folder: &Path, name: &str, from: &str, to: &str) -> std::path::PathBuf {
    let text = fs::read_to_string(manifest(name)).unwrap();
    assert!(text.contains(from), "{name} has no {from:?}");
    let file = folder.join(name);
    fs::write(&file, text.replace(from, to)).unwrap();
    file
}

#[test]
fn every_manifest_is_valid_from_kubernetes_1_30_on() {
    let files = MANIFESTS.map(manifest);
    let files = files.each_ref().map(|file| file.as_path());
    for minor in VERSIONS {
        let run = validate(minor, &files);
        assert_eq!(run.code(), 0, "1.{minor}: {}{}", run.stdout, run.stderr);
    }
}

#[test]
fn without_its_pre_stop_every_manifest_is_valid_for_kubernetes_1_25_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let sleep = "              sleep:\n                seconds: 5\n";
    let exec = "              exec:\n                command: [sleep, \"5\"]\n";
    for name in MANIFESTS {
        let text = fs::read_to_string(manifest(name)).unwrap();
        let text: String = text
            .split_inclusive('\n')
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect();
        let file = folder.path().join(name);
        fs::write(&file, text.replace(sleep, exec)).unwrap();
        let run = validate(25, &[&file]);
        assert_eq!(run.code(), 0, "{name}: {}{}", run.stdout, run.stderr);
    }
}

#[test]
fn a_field_that_the_api_does_not_know_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = changed(
        folder.path(),
        "agent.yml",
        "terminationGracePeriodSeconds",
        "terminationGracePeriod",
    );
    let run = validate(37, &[&file]);
    assert_ne!(run.code(), 0);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        said.contains("'terminationGracePeriod' was unexpected"),
        "{said}"
    );
}

/// `periodSeconds`, `timeoutSeconds` and `failureThreshold` of each probe of agent.yml.
fn probes() -> BTreeMap<String, [String; 3]> {
    let text = fs::read_to_string(manifest("agent.yml")).unwrap();
    let mut found = BTreeMap::new();
    for kind in ["startup", "readiness", "liveness"] {
        let (_, probe) = text.split_once(&format!("{kind}Probe:\n")).unwrap();
        let value = |key: &str| {
            let (_, rest) = probe.split_once(&format!("{key}: ")).unwrap();
            rest.lines().next().unwrap().to_owned()
        };
        let values = ["periodSeconds", "timeoutSeconds", "failureThreshold"].map(value);
        found.insert(kind.to_owned(), values);
    }
    found
}

#[test]
fn the_page_counts_with_the_figures_of_the_manifest() {
    let page = fs::read_to_string(workspace_root().join("docs/kubernetes.md")).unwrap();
    for (kind, [period, timeout, failures]) in probes() {
        let row = format!("| {kind} | {period} s | {timeout} s | {failures} |");
        assert!(page.contains(&row), "not in docs/kubernetes.md: {row}");
    }
    let manifest = fs::read_to_string(manifest("agent.yml")).unwrap();
    for (line, said) in [
        ("terminationGracePeriodSeconds: 40", "5 + 30 + 5 = 40 s"),
        ("seconds: 5\n", "5 + 30 + 5 = 40 s"),
        ("value: 10s", "watchdog of 10 s"),
    ] {
        assert!(manifest.contains(line), "agent.yml has no {line:?}");
        assert!(page.contains(said), "docs/kubernetes.md has no {said:?}");
    }
}

#[test]
fn the_yaml_of_the_page_is_valid_from_kubernetes_1_30_on() {
    let folder = tempfile::tempdir().unwrap();
    let headings = [
        "An agent",
        "Agents that need each other",
        "An image that you can't change",
    ];
    for (nth, heading) in headings.into_iter().enumerate() {
        let pod = pod_of_the_page(heading);
        let file = folder.path().join(format!("{nth}.yml"));
        fs::write(&file, &pod).unwrap();
        for minor in [*VERSIONS.start(), *VERSIONS.end()] {
            let run = validate(minor, &[&file]);
            assert_eq!(run.code(), 0, "{heading}: {}{}", run.stdout, run.stderr);
        }
        let wrong = pod.replace("readinessProbe", "readyProbe");
        assert_ne!(wrong, pod, "{heading}");
        fs::write(&file, wrong).unwrap();
        assert_ne!(validate(*VERSIONS.end(), &[&file]).code(), 0, "{heading}");
    }
}

/// The probes of the page are those of the manifest, which Podman plays.
#[test]
fn the_probes_of_the_page_are_those_of_the_manifests() {
    let squeezed = |text: &str| -> String {
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n")
    };
    for (heading, name) in [
        ("An agent", "agent.yml"),
        ("Agents that need each other", "fleet.yml"),
    ] {
        let manifest = squeezed(&fs::read_to_string(manifest(name)).unwrap());
        let yaml = block("docs/kubernetes.md", heading, "yaml", 0).text;
        // One after the other: in the manifest other keys stand between them.
        for part in squeezed(&yaml).split("\nexec:\n").skip(1) {
            let command = part.lines().next().unwrap();
            assert!(manifest.contains(command), "{name} has no {command}");
        }
    }
}
