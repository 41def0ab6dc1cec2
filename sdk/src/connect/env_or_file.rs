//! Variables of the environment that name servers, and the files that `NAME_FILE` names for them.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::file;
use crate::{Error, ErrorKind, trimmed_variable};

/// Reads a variable of the environment, or of a test's stand-in for it.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Where a setting stands in the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a variable.
    Variable(String),
    /// In the file that a variable names.
    File {
        /// The variable, which ends in `_FILE`.
        variable: String,
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "{name} (environment)"),
            Self::File { variable, path } => write!(f, "{variable} (file {})", path.display()),
        }
    }
}

/// A setting of the environment that can't be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableVariable {
    /// Where it stands.
    pub source: Source,
    /// Why it can't be used.
    pub why: String,
}

impl From<UnusableVariable> for Error {
    fn from(UnusableVariable { source, why }: UnusableVariable) -> Self {
        Self::new(ErrorKind::InvalidConfig, format!("{source}: {why}"))
    }
}

/// A variable that must be text, if it is set.
///
/// # Errors
/// [`UnusableVariable`] when it is not UTF-8.
pub fn text(lookup: Lookup<'_>, name: &str) -> Result<Option<String>, UnusableVariable> {
    let value = lookup(name).and_then(trimmed_variable::meant);
    let text = value.map(OsString::into_string).transpose();
    text.map_err(|_| unusable(name, "it is not UTF-8"))
}

/// An address in a variable, or in the file that `NAME_FILE` names, if one of them is set.
///
/// # Errors
/// [`UnusableVariable`] when both are set, the file can't be read, or it holds no address.
pub fn address(
    lookup: Lookup<'_>,
    name: &str,
) -> Result<Option<(String, Source)>, UnusableVariable> {
    let file_variable = format!("{name}_FILE");
    let direct = text(lookup, name)?;
    let Some(path) = text(lookup, &file_variable)? else {
        return Ok(direct.map(|text| (text, Source::Variable(name.to_owned()))));
    };
    if direct.is_some() {
        let why = format!("{name} is set as well; set one of them");
        return Err(unusable(&file_variable, &why));
    }
    let path = PathBuf::from(path);
    let text = file::read_text(&path).map_err(|e| unusable(&file_variable, &e.to_string()))?;
    let source = Source::File {
        variable: file_variable,
        path,
    };
    // A host without a scheme looks like a password, and DNS must not be asked for one.
    let why = if text.is_empty() {
        "the file is empty"
    } else if !text.contains("://") {
        "the file holds no address, which begins with its scheme, as in redis:// or nats://"
    } else {
        return Ok(Some((text, source)));
    };
    Err(UnusableVariable {
        source,
        why: why.to_owned(),
    })
}

pub(super) fn unusable(variable: &str, why: &str) -> UnusableVariable {
    UnusableVariable {
        source: Source::Variable(variable.to_owned()),
        why: why.to_owned(),
    }
}
