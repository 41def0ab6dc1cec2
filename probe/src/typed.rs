//! Reads what was typed. A mistake is answered in one line, which repeats no secret.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{FromArgMatches, Parser};

use ready_probe::redact;
use ready_probe::settings::Flags;

use crate::cli::{self, Cli, LongPoll, Targets};
use crate::exit::Exit;

/// How long a message may be.
const MAX_MESSAGE_CHARS: usize = 300;
/// The longest word that is repeated of what was typed.
const MAX_WORD_BYTES: usize = 24;

/// Parses the command line. Help and version are answers, not errors; clap's own status for a
/// usage error is 2, which Docker reserves.
pub fn parse() -> Result<Cli, Exit> {
    if std::env::args_os().len() == 1 {
        // The whole of `HEALTHCHECK CMD ready-probe`.
        return Ok(Cli {
            command: None,
            targets: Targets::default(),
            long_poll: LongPoll::default(),
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
