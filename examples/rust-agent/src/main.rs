//! An example agent: it loads a "model", translates what it is sent, and says when it is ready.
//!
//! - `rust-agent` is the agent; [`settings`] lists the environment it reads.
//! - `rust-agent supervise NAME[=PORT]...` starts one agent a name, as a supervisor that restarts
//!   nothing: the case in which a container lives on although an agent in it has died.
//!
//! What makes it observable is all in [`translator`]: `register`, `mark_ready`, `tick`, `mark_stopping`.
//! Both end at SIGTERM and SIGINT, also as process 1 of a container, for which the kernel ignores these
//! unless it has a handler: [`stop`].

mod settings;
mod stop;
mod supervise;
mod translator;

use std::fmt;
use std::process::ExitCode;

use settings::Settings;

const USAGE: &str = "usage: rust-agent | rust-agent supervise NAME[=PORT]...";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let result = match args.split_first() {
        None => Settings::from_env().and_then(|settings| translator::run(&settings)),
        Some((verb, names)) if verb == "supervise" => supervise::run(names),
        Some((verb, _)) => Err(Failure::Usage(format!(
            "unknown argument {verb:?}; {USAGE}"
        ))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("rust-agent: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Why the program ends early.
#[derive(Debug)]
enum Failure {
    /// It was called wrongly.
    Usage(String),
    /// Its environment holds something that can't be used.
    Config(String),
    /// What it needs is not there.
    Start(String),
}

impl Failure {
    /// After sysexits.h: a supervisor can tell what a restart may mend from what it can't.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Config(_) => 78,
            Self::Start(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Config(what) | Self::Start(what) => f.write_str(what),
        }
    }
}

/// What only another setting mends is told apart from what a restart may mend.
impl From<ready_probe_sdk::Error> for Failure {
    fn from(e: ready_probe_sdk::Error) -> Self {
        use ready_probe_sdk::ErrorKind;
        let by_setting = matches!(
            e.kind(),
            ErrorKind::InvalidName | ErrorKind::InvalidArgument | ErrorKind::InvalidConfig
        );
        if by_setting {
            Self::Config(format!("{e}; check AGENT_* and READY_* in the environment"))
        } else {
            Self::Start(e.to_string())
        }
    }
}
