//! Where a setting came from, and what is wrong with it there.

use std::fmt;
use std::path::PathBuf;

use ready_probe_sdk::connect::env_or_file::{self, Source};

use crate::redact::one_line;
use crate::target::variables::Unusable;

/// A value may be of any length, and hold line ends.
const MAX_MESSAGE_CHARS: usize = 400;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// An option or argument of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Env(String),
    /// A file that a variable of the environment names.
    EnvFile {
        /// The variable, which ends in `_FILE`.
        variable: String,
        /// The file.
        path: PathBuf,
    },
    /// A key of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
}

impl Origin {
    /// Whether it stands on the command line.
    pub fn is_typed(&self) -> bool {
        matches!(self, Self::Flag(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Flag(name) => write!(f, "{name} (command line)"),
            Self::Env(name) => write!(f, "{name} (environment)"),
            Self::EnvFile { variable, path } => {
                write!(f, "{variable} (file {})", path.display())
            }
            Self::File { path, key } if key.is_empty() => write!(f, "{}", path.display()),
            Self::File { path, key } => write!(f, "{key} ({})", path.display()),
        }
    }
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        match source {
            Source::Variable(name) => Self::Env(name),
            Source::File { variable, path } => Self::EnvFile { variable, path },
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// Pairs a value with its origin.
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }

    /// What nobody set.
    pub fn default_of(value: T) -> Self {
        Self::new(value, Origin::Default)
    }

    /// Parses the value; the error says where it was set.
    pub fn parse<U>(
        self,
        parse: impl FnOnce(&T) -> Result<U, String>,
    ) -> Result<Setting<U>, Invalid> {
        match parse(&self.value) {
            Ok(value) => Ok(Setting::new(value, self.origin)),
            Err(why) => Err(Invalid::new(&self.origin, why)),
        }
    }
}

/// A setting that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    message: String,
    typed: bool,
}

impl From<env_or_file::UnusableVariable> for Invalid {
    fn from(env_or_file::UnusableVariable { source, why }: env_or_file::UnusableVariable) -> Self {
        Self::new(&source.into(), why)
    }
}

impl Invalid {
    /// What is wrong with what was set at `origin`.
    pub fn new(origin: &Origin, why: impl fmt::Display) -> Self {
        Self {
            message: one_line(&format!("{origin}: {why}"), MAX_MESSAGE_CHARS),
            typed: origin.is_typed(),
        }
    }

    /// Why what was set at `origin` can't be used, or a variable in it.
    pub fn target(origin: &Origin, why: Unusable) -> Self {
        match why {
            Unusable::Variable(name, why) => Self::new(&Origin::Env(name), why),
            Unusable::Text(why) => Self::new(origin, why),
        }
    }

    /// Something wrong with the command line as a whole.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            message: one_line(&message.into(), MAX_MESSAGE_CHARS),
            typed: true,
        }
    }

    /// Whether it was typed on the command line (EX_USAGE) or configured (EX_CONFIG).
    pub fn is_usage(&self) -> bool {
        self.typed
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
