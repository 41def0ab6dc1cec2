//! Variables of the environment, all read by one rule: line ends and blanks at the end of a value
//! don't count, and an empty value is not set. They are invisible to whoever looks for a mistake,
//! and come by themselves: from an env file written on Windows, a YAML block, an `echo`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::{Error, ErrorKind};

/// A variable, if it is set.
#[must_use]
pub fn read(name: &str) -> Option<OsString> {
    std::env::var_os(name).and_then(meant)
}

/// What a value means.
#[must_use]
pub fn meant(value: OsString) -> Option<OsString> {
    let is_nothing = |byte: &u8| matches!(byte, b'\r' | b'\n' | b' ' | b'\t');
    let length = value.as_bytes().iter().rposition(|b| !is_nothing(b))? + 1;
    let mut bytes = value.into_vec();
    bytes.truncate(length);
    Some(OsString::from_vec(bytes))
}

/// A variable that can't be used.
pub(crate) fn invalid(name: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        format!("{name} (environment): {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_behind_a_value_is_nothing() {
        for (value, want) in [
            ("a", Some("a")),
            ("a\r\n", Some("a")),
            (" a b \t\n", Some(" a b")),
            ("a\u{a0}", Some("a\u{a0}")),
            ("", None),
            (" \r\n\t", None),
        ] {
            assert_eq!(meant(value.into()), want.map(OsString::from), "{value:?}");
        }
    }
}
