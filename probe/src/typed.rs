//! Reads what was typed. A mistake is answered in one line, which repeats no secret.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{FromArgMatches, Parser};

use ready_probe::redact;
use ready_probe::settings::Flags;

use crate::cli::{self, Cli, LongPoll, OutputFile, Targets};
use crate::exit::Exit;

/// How long a message may be.
const MAX_MESSAGE_CHARS: usize = 300;
/// The longest word that is repeated of what was typed.
const MAX_WORD_BYTES: usize = 24;

/// Parses the command line. Help and version are answers, not errors; clap's own status for a
/// usage error is 2, which Docker reserves.
pub fn parse() -> Result<Cli, Exit> {
    // What clap would say of them costs a third of a probe of one agent.
    if let Some(targets) = only_targets(std::env::args_os().skip(1)) {
        return Ok(Cli {
            command: None,
            targets: Targets { targets },
            long_poll: LongPoll::default(),
            output: OutputFile::default(),
            options: Flags::default(),
        });
    }
    if let Ok(typed) = Cli::try_parse() {
        return Ok(typed);
    }
    // What a command's help shows costs as much as a probe; only who reads it pays for that.
    let typed = cli::definition().try_get_matches();
    let parsed = typed.and_then(|typed| Cli::from_arg_matches(&typed));
    parsed.map_err(|e| match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done(e.to_string()),
        _ => Exit::Usage(one_line(&e)),
    })
}

/// The arguments, if they can be nothing but targets: no option begins so, and no command has a colon.
fn only_targets(arguments: impl Iterator<Item = OsString>) -> Option<Vec<String>> {
    let target = |argument: OsString| {
        let text = argument.into_string().ok()?;
        (text.contains(':') && !text.starts_with('-')).then_some(text)
    };
    arguments.map(target).collect()
}

/// What is wrong, in one line. clap quotes what was typed, which may be an address with a
/// password: what is more than a word is not repeated.
fn one_line(e: &clap::Error) -> String {
    let mut text = e.to_string();
    let mut hide = |kind, shown: fn(&str) -> String| {
        if let Some(ContextValue::String(typed)) = e.get(kind) {
            text = text.replace(&format!("'{typed}'"), &format!("'{}'", shown(typed)));
        }
    };
    if e.kind() == ErrorKind::UnknownArgument {
        hide(ContextKind::InvalidArg, word);
    }
    hide(ContextKind::InvalidValue, |_| "…".to_owned());
    // What is missing stands on lines of its own; usage and tips follow behind an empty one.
    let what: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    let what = what.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    let what = redact::one_line(what, MAX_MESSAGE_CHARS);
    format!("ready-probe: {what}; see ready-probe --help\n")
}

/// The word that an argument begins with: the name of an option, or a scheme.
fn word(typed: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    let end = typed.find(|c| !is_word(c)).unwrap_or(typed.len());
    match typed.split_at(end) {
        (word, "") if word.len() <= MAX_WORD_BYTES => word.to_owned(),
        (word, rest) if word.len() <= MAX_WORD_BYTES && rest.starts_with([':', '=']) => {
            format!("{word}…")
        }
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install;
    use proptest::prelude::*;
    use ready_probe::settings::DEFAULT_TIMEOUT;

    /// What stands on command lines, and what looks like it.
    fn argument() -> impl Strategy<Value = String> {
        prop_oneof![
            "agent:[a-z]{1,3}",
            "--?[a-z]{0,3}(=[a-z:]{0,3})?",
            "(wait|mark|run|list|config|install|name-pid|help)(:x)?",
            "[-:a-z ]{0,4}",
            Just("--long-poll".to_owned()),
            Just("--agent".to_owned()),
            Just("--".to_owned()),
            Just("${REDIS_URL:-redis://localhost}".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn what_is_read_without_clap_is_what_clap_reads(typed in prop::collection::vec(argument(), 0..5)) {
            if let Some(targets) = only_targets(typed.iter().map(OsString::from)) {
                let all = std::iter::once("ready-probe".to_owned()).chain(typed.clone());
                let cli = Cli::try_parse_from(all).expect("clap takes them, too");
                prop_assert!(cli.command.is_none() && cli.long_poll.long_poll.is_none() && cli.output.file.is_none());
                prop_assert_eq!(&cli.targets.targets, &targets);
                prop_assert_eq!(format!("{:?}", cli.options), format!("{:?}", Flags::default()));
            }
        }
    }

    #[test]
    fn the_help_of_a_command_tells_its_own_deadline() {
        let mut definition = cli::definition();
        definition.build();
        let commands = definition.get_subcommands().filter(|c| !c.is_hide_set());
        for command in std::iter::once(&definition).chain(commands) {
            let default = match command.get_name() {
                "install" => install::DEFAULT_TIMEOUT,
                _ => DEFAULT_TIMEOUT,
            };
            let timeout = command
                .get_arguments()
                .find(|arg| arg.get_id() == "timeout");
            let help = timeout.and_then(|arg| arg.get_help());
            let help = help.expect("an option of every command").to_string();
            let told = format!("{}s by default", default.as_secs());
            assert!(help.contains(&told), "{}: {help}", command.get_name());
        }
    }

    #[test]
    fn targets_alone_need_no_clap() {
        let read = |typed: &[&str]| only_targets(typed.iter().map(OsString::from));
        assert_eq!(read(&[]), Some(vec![]));
        let two = ["agent:a", "redis://h#timeout=1s"];
        assert_eq!(read(&two), Some(two.map(str::to_owned).to_vec()));
        for other in [
            &["wait"][..],
            &["agent:a", "-q"],
            &["--", "agent:a"],
            &["-:"],
            &[""],
        ] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
