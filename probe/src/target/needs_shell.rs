//! What a shell would make of a command, and what nobody reads without one.

const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "busybox", "zsh", "ksh"];
/// Arguments like any other, without a shell.
const OPERATORS: [&str; 8] = ["||", "|", "&&", "&", ";", ">>", ">", "<"];

/// What follows a shell's `-c`.
pub(super) fn script(argv: &[String]) -> Option<&str> {
    argv.get(script_at(argv)?).map(String::as_str)
}

fn script_at(argv: &[String]) -> Option<usize> {
    let at = argv
        .iter()
        .position(|word| SHELLS.contains(&base_name(word)))?;
    let args = argv.get(at + 1..)?;
    let is_command = |arg: &String| {
        let letters = arg.strip_prefix('-').unwrap_or_default();
        !letters.starts_with('-') && letters.contains('c')
    };
    let flag = args.iter().position(is_command)?;
    Some(at + 1 + flag + 1)
}

/// The words of a script, roughly: only its programs and options matter.
pub(super) fn words(script: &str) -> Vec<&str> {
    let is_between = |c: char| c.is_whitespace() || ";|&()<>$`\"'{}".contains(c);
    script.split(is_between).filter(|w| !w.is_empty()).collect()
}

pub(super) fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// What only a shell understands, in a command without one.
pub fn unread(argv: &[String]) -> Option<&'static str> {
    if let Some(at) = script_at(argv) {
        // Of `sh -c a | b` the script is `a` alone.
        let behind = argv.get(at + 1..).unwrap_or_default();
        return OPERATORS
            .into_iter()
            .find(|operator| behind.iter().any(|arg| arg == operator));
    }
    let (program, args) = argv.split_first()?;
    // No program is called `a|b`; an argument may be, such as a pattern.
    let in_name = OPERATORS
        .into_iter()
        .find(|operator| program.contains(operator));
    in_name.or_else(|| args.iter().find_map(|arg| operator(arg)))
}

fn operator(arg: &str) -> Option<&'static str> {
    // 2>/dev/null
    let redirected = arg.trim_start_matches(|c: char| c.is_ascii_digit());
    let found = OPERATORS.iter().find(|operator| match **operator {
        ">>" | ">" | "<" => redirected.starts_with(**operator),
        operator => arg == operator,
    });
    let variable = arg.match_indices('$').any(|(at, _)| {
        let next = arg.get(at + 1..).and_then(|rest| rest.chars().next());
        next.is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '{' | '('))
    });
    found.copied().or(variable.then_some("$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        for (command, want) in [
            ("curl -f http://h || exit 1", Some("||")),
            ("a | b", Some("|")),
            ("a|b", Some("|")),
            ("a||b c", Some("||")),
            ("a;b", Some(";")),
            ("a>/dev/null", Some(">")),
            ("a && b", Some("&&")),
            ("a ; b", Some(";")),
            ("a >/dev/null", Some(">")),
            ("a 2>/dev/null", Some(">")),
            ("a >> b", Some(">>")),
            ("a < b", Some("<")),
            ("a $B", Some("$")),
            ("a \"x ${B}\"", Some("$")),
            ("a '$(b)'", Some("$")),
            ("sh -c 'a || $B > c'", None),
            ("/bin/bash -ec 'a | b'", None),
            ("sh -c true | false", Some("|")),
            ("sh -c 'echo $1' x '$y'", None),
            ("grep '^x$' f", None),
            ("a 5 -> b|c x=>y", None),
            ("a", None),
        ] {
            let argv = shell_words::split(command).unwrap();
            assert_eq!(unread(&argv), want, "{command}");
        }
    }
}
