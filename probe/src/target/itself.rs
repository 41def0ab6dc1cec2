//! Commands that look for a process by its command line, and find the one that looks: the pattern
//! stands on the command line of the probe, or of the shell that runs them. They would always pass.

use super::shell::{base_name, script, words};

const FINDERS: [&str; 3] = ["pgrep", "pkill", "pidof"];
const INSTEAD: &str = "whose command line holds the pattern; write process:PATTERN instead";

/// Why a command finds itself that stands on the probe's own command line.
pub(super) fn found_by_typed(argv: &[String]) -> Option<String> {
    let words: Vec<&str> = match script(argv) {
        Some(script) => words(script),
        None => argv.iter().map(String::as_str).collect(),
    };
    let finder = finder(&words)?;
    Some(format!(
        "{finder} -f would always pass, since it finds the probe itself, {INSTEAD}"
    ))
}

/// Why a command finds itself, wherever it stands: it is run by a shell that waits for it, with the
/// pattern on its own command line.
pub(super) fn found_by_shell(argv: &[String]) -> Option<String> {
    let script = script(argv)?;
    let words = words(script);
    let has = |word: &str| words.iter().any(|w| base_name(w) == word);
    // A shell becomes its last command, dash and bash do, where there is no other.
    let joined = script.replace(">&", ">");
    let waits = joined.contains(['|', '&', ';', '\n', '`']) || joined.contains("$(");
    let what = if has("ps") && has("grep") && !script.contains('[') && !leaves_out(&words) {
        "ps and grep"
    } else if waits && finder(&words).is_some() {
        "pgrep -f"
    } else {
        return None;
    };
    Some(format!(
        "{what} would always pass, since that finds the shell that runs it, {INSTEAD}"
    ))
}

/// The program that looks for whole command lines. A pattern like `[a]gent` does not match itself.
fn finder<'a>(words: &[&'a str]) -> Option<&'a str> {
    let at = words
        .iter()
        .position(|word| FINDERS.contains(&base_name(word)))?;
    let (program, args) = words.get(at..)?.split_first()?;
    let is_full = |arg: &&str| {
        let letters = arg.strip_prefix('-').unwrap_or_default();
        *arg == "--full" || !letters.starts_with('-') && letters.contains('f')
    };
    let escapes = args.iter().any(|arg| arg.contains('['));
    (args.iter().any(is_full) && !escapes).then(|| base_name(program))
}

/// `grep -v`
fn leaves_out(words: &[&str]) -> bool {
    let is_inverted = |word: &&str| {
        let letters = word.strip_prefix('-').unwrap_or_default();
        *word == "--invert-match" || !letters.starts_with('-') && letters.contains('v')
    };
    words.iter().any(is_inverted)
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
