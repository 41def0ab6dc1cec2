//! Commands that look for a process by its command line and find themselves: the pattern is on the
//! command line of the probe, or of the shell that runs them. They would always pass.

use super::needs_shell::{base_name, script, words};

const FINDERS: [&str; 3] = ["pgrep", "pkill", "pidof"];
const FILTERS: [&str; 8] = ["grep", "egrep", "fgrep", "rg", "awk", "gawk", "mawk", "sed"];
/// They run a command and wait for it, with its words on their own command line.
const WAITERS: [&str; 10] = [
    "timeout",
    "sudo",
    "doas",
    "su",
    "runuser",
    "flock",
    "time",
    "xargs",
    "tini",
    "dumb-init",
];
/// The letters of pgrep's options that take a value.
const WITH_VALUE: &str = "dFgGPrstuU";
const INSTEAD: &str = "whose command line holds the pattern; write process:PATTERN instead";

/// Why a command on the probe's own command line finds itself.
pub(super) fn found_by_typed(argv: &[String]) -> Option<String> {
    let words: Vec<&str> = match script(argv) {
        Some(script) => words(script),
        None => argv.iter().map(String::as_str).collect(),
    };
    let finder = finder(&words)?;
    Some(format!(
        "{finder} -f always finds the probe itself, {INSTEAD}"
    ))
}

/// Why a command finds itself, wherever it stands: a program runs it and waits, or looks at each
/// process itself, with the pattern on its own command line.
pub(super) fn found_by_shell(argv: &[String]) -> Option<String> {
    let typed: Vec<&str> = argv.iter().map(String::as_str).collect();
    let program = argv.first().map_or("", |word| base_name(word));
    let Some(script) = script(argv) else {
        let what = if WAITERS.contains(&program) && finder(&typed).is_some() {
            "pgrep -f"
        } else if FILTERS.contains(&program) && reads_own_command_line(&typed.join(" ")) {
            program
        } else {
            return None;
        };
        return Some(format!("{what} always finds {program} itself, {INSTEAD}"));
    };
    let words = words(script);
    let filters = words.iter().any(|word| FILTERS.contains(&base_name(word)));
    let lists = words.iter().any(|word| base_name(word) == "ps");
    // A shell becomes its only command; dash and bash do.
    let joined = script.replace(">&", ">");
    let waits = joined.contains(['|', '&', ';', '\n', '`'])
        || joined.contains("$(")
        || words.iter().any(|word| WAITERS.contains(&base_name(word)));
    let what = if filters && lists && !script.contains('[') && !leaves_out(script, &words) {
        "ps with a filter"
    } else if filters && reads_own_command_line(script) && !leaves_out(script, &words) {
        "a filter of /proc/*/cmdline"
    } else if waits && finder(&words).is_some() {
        "pgrep -f"
    } else {
        return None;
    };
    Some(format!(
        "{what} always finds the shell that runs it, {INSTEAD}"
    ))
}

/// The program that searches whole command lines. A pattern like `[a]gent` does not match itself,
/// nor does one that has to match the whole line.
fn finder<'a>(words: &[&'a str]) -> Option<&'a str> {
    let at = words
        .iter()
        .position(|word| FINDERS.contains(&base_name(word)))?;
    let (program, args) = words.get(at..)?.split_first()?;
    let has = |letter: char, name: &str| {
        args.iter().any(|arg| match arg.strip_prefix("--") {
            // The beginning of a long name is enough, see getopt_long(3).
            Some(long) => !long.is_empty() && name.starts_with(long),
            None => letters(arg).contains(letter),
        })
    };
    let escapes = args.iter().any(|arg| arg.contains('['));
    (has('f', "full") && !has('x', "exact") && !escapes).then(|| base_name(program))
}

/// The letters of a group of short options, up to one that takes the rest as its value.
fn letters(arg: &str) -> &str {
    let letters = arg.strip_prefix('-').unwrap_or_default();
    let end = letters.find(|c| WITH_VALUE.contains(c));
    letters
        .get(..end.unwrap_or(letters.len()))
        .unwrap_or_default()
}

/// Whether `/proc/*/cmdline` or the like is read, with a pattern that matches itself.
fn reads_own_command_line(script: &str) -> bool {
    let script = script
        .replace("/proc/[0-9]*/", "/proc/*/")
        .replace("/proc/[1-9]*/", "/proc/*/");
    let reads = |who: &str| script.contains(&format!("/proc/{who}/cmdline"));
    (reads("*") || reads("self")) && !script.contains('[')
}

/// `grep -v`, `awk '/x/ && !/awk/'`
fn leaves_out(script: &str, words: &[&str]) -> bool {
    let is_inverted = |word: &&str| {
        let letters = word.strip_prefix('-').unwrap_or_default();
        *word == "--invert-match" || !letters.starts_with('-') && letters.contains('v')
    };
    words.iter().any(is_inverted) || script.contains("!/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let table = [
            // command, refused when typed, refused anywhere
            ("pgrep -f agent.py", true, false),
            ("pgrep -fl agent.py", true, false),
            ("pkill --full -0 agent.py", true, false),
            ("env A=b pgrep -f agent.py", true, false),
            ("sh -c 'pgrep -f agent.py'", true, false),
            ("sh -c 'exec pgrep -f agent.py > /dev/null'", true, false),
            ("sh -c 'pgrep -f agent.py >/dev/null 2>&1'", true, false),
            ("sh -c 'pgrep -f agent.py || exit 1'", true, true),
            (
                "busybox sh -c 'test $(pgrep -fc agent.py) -gt 0'",
                true,
                true,
            ),
            ("sh -c 'ps aux | grep agent.py'", false, true),
            ("sh -c 'ps aux | /bin/grep -q agent.py'", false, true),
            (
                "sh -c 'ps aux | grep agent.py | grep -v grep'",
                false,
                false,
            ),
            ("sh -c 'ps aux | grep [a]gent.py'", false, false),
            ("pgrep -f '[a]gent.py'", false, false),
            ("pgrep --ful agent.py", true, false),
            ("pgrep -fx agent.py", false, false),
            ("pgrep -ufoo agent.py", false, false),
            ("timeout 2 pgrep -f agent.py", true, true),
            ("sh -c 'timeout 2 pgrep -f agent.py'", true, true),
            ("sh -c 'ps -ef | egrep -q agent.py'", false, true),
            (
                "sh -c \"ps -ef | awk '/agent.py/{f=1} END{exit !f}'\"",
                false,
                true,
            ),
            (
                "sh -c \"ps -ef | awk '/agent.py/ && !/awk/'\"",
                false,
                false,
            ),
            ("sh -c 'grep -q agent.py /proc/*/cmdline'", false, true),
            ("sh -c 'grep -q agent.py /proc/[0-9]*/cmdline'", false, true),
            ("sh -c 'grep -q [a]gent.py /proc/*/cmdline'", false, false),
            ("grep -qs agent.py /proc/self/cmdline", false, true),
            ("grep -q agent.py /proc/1/cmdline", false, false),
            ("pgrep agent", false, false),
            ("pgrep --pidfile /run/f", false, false),
            ("grep -f patterns file", false, false),
            ("sh -c 'cat file | grep x'", false, false),
            ("true", false, false),
        ];
        for (command, typed, anywhere) in table {
            let argv = shell_words::split(command).unwrap();
            let shell = found_by_shell(&argv).is_some();
            assert_eq!(shell, anywhere, "{command}");
            assert_eq!(found_by_typed(&argv).is_some(), typed, "{command}");
        }
    }
}
