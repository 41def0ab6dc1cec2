//! What `ready-probe-pages` writes, read by those for whom it is written: man and three shells.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

const COMMANDS: [&str; 6] = ["wait", "run", "mark", "list", "config", "install"];

fn pages() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let written = Command::new(env!("CARGO_BIN_EXE_ready-probe-pages"))
            .arg(folder.path())
            .status();
        assert!(written.unwrap().success());
        folder
    });
    folder.path()
}

/// What a program prints, which must have nothing to complain of.
#[track_caller]
fn output(command: &mut Command) -> String {
    let program = command.get_program().display().to_string();
    let run = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}; `make setup` installs it"));
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(
        run.status.success() && stderr.is_empty(),
        "{command:?}: {stderr}"
    );
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn every_command_has_a_page_with_its_options() {
    let page = |name: &str| fs::read_to_string(pages().join("man/man1").join(name)).unwrap();
    let all = page("ready-probe.1");
    for command in COMMANDS {
        assert!(
            all.contains(&format!("ready\\-probe\\-{command}(1)")),
            "{command}"
        );
        assert!(page(&format!("ready-probe-{command}.1")).contains("\\-\\-timeout"));
    }
    assert!(page("ready-probe-install.1").contains("DIR"));
    // The exit statuses, of what stands behind the options in --help.
    assert!(all.contains("starting or unhealthy"), "{all}");
}

#[test]
fn bash_completes_commands_and_options() {
    let script = pages().join("completions/ready-probe.bash");
    let completed = |words: &str, word: &str| {
        let program = format!(
            "source {}; COMP_WORDS=({words} '{word}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             completer=$(complete -p ready-probe); completer=${{completer##*-F }}; completer=${{completer%% *}}; \
             \"$completer\" ready-probe '{word}' ''; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        output(Command::new("bash").args(["--norc", "-c", &program]))
    };
    assert_eq!(completed("ready-probe", "inst"), "install\n");
    assert_eq!(completed("ready-probe mark", "--not"), "--not-ready\n");
}

#[test]
fn fish_completes_commands_and_options() {
    let script = pages().join("completions/ready-probe.fish");
    let completed = |line: &str| {
        let program = format!("source {}; complete -C '{line}'", script.display());
        let home = tempfile::tempdir().unwrap();
        output(
            Command::new("fish")
                .args(["--no-config", "--private", "-c", &program])
                .env("HOME", home.path()),
        )
    };
    let commands = completed("ready-probe inst");
    assert!(
        commands.starts_with("install\tCopy this program"),
        "{commands}"
    );
    let options = completed("ready-probe mark --not");
    assert!(options.starts_with("--not-ready\t"), "{options}");
}

#[test]
fn zsh_finds_the_completion_by_its_name() {
    let program = "autoload -U compinit; compinit -D -u; echo $_comps[ready-probe]; \
                   autoload +X _ready-probe; whence -w _ready-probe";
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-c", &format!("fpath=($PAGES $fpath); {program}")])
        .env("PAGES", pages().join("completions"));
    assert_eq!(output(&mut zsh), "_ready-probe\n_ready-probe: function\n");
}
