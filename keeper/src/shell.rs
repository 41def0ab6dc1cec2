//! Which shell runs the commands of the JSON of services: bash, as their script did, since `&>` means something else to
//! others; without it, sh. And the commands that people are shown elsewhere.

use std::fmt::Display;

use rustix::fs::{Access, access};

use ready_probe::redact::one_line;

/// Longer paths are cut.
const MAX_PROGRAM_CHARS: usize = 80;

/// What makes a blank part of a word: where such a word ends is not guessed at.
const JOINS: [char; 6] = ['"', '\'', '\\', '`', '(', '{'];

/// Its path.
pub fn find() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/bin", "/usr/bin"]);
    let mut found = places
        .filter(|dir| dir.starts_with('/'))
        .map(|dir| format!("{dir}/bash"));
    found
        .find(|bash| access(bash.as_str(), Access::EXEC_OK).is_ok())
        .unwrap_or_else(|| "/bin/sh".to_owned())
}

/// A command without its arguments, which may hold secrets: only its program is shown, and not even that where it may be part
/// of a value.
pub fn program(command: &str) -> String {
    let is_assignment = |word: &&str| {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut words = command.split_whitespace().peekable();
    while let Some(assignment) = words.next_if(is_assignment) {
        if assignment.contains(JOINS) {
            return "…".to_owned();
        }
    }
    let program = one_line(words.next().unwrap_or_default(), MAX_PROGRAM_CHARS);
    match words.next() {
        Some(_) => format!("{program} …"),
        None => program,
    }
}

/// The command that shows the end of a log.
pub fn tail(log: impl Display) -> String {
    format!("tail -50 {log}")
}

#[cfg(test)]
mod tests {
    use super::program;

    #[test]
    fn of_a_command_its_program_is_shown() {
        for (command, want) in [
            (
                "/usr/local/bin/minio server /data --console-address :9001 &",
                "/usr/local/bin/minio …",
            ),
            ("PGPASSWORD=Sesam01 X= psql -c 'select 1'", "psql …"),
            ("AUTH=\"Bearer Sesam02\" curl -s localhost", "…"),
            ("A=1 AUTH='Bearer Sesam03' curl", "…"),
            ("AUTH=Bearer\\ Sesam04 curl", "…"),
            ("AUTH=$(cat a Sesam05) curl", "…"),
            ("AUTH=`cat a Sesam06` curl", "…"),
            ("AUTH=${A:-a Sesam07} curl", "…"),
            ("AUTH=(a Sesam08) curl", "…"),
            ("start", "start"),
            ("  ", ""),
            ("A=1", ""),
        ] {
            assert_eq!(program(command), want);
        }
    }
}
