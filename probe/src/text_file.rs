//! Small text files that somebody names: the configuration, secrets, keys.

use std::path::Path;

use ready_probe_sdk::connect::file::{self, Unusable};

/// No configuration and no key is larger.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads a small text file, without the line ends and blanks at its end.
pub fn read(path: &Path) -> Result<String, Unusable> {
    let bytes = file::read(path, MAX_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| Unusable::content(path, "not UTF-8"))?;
    Ok(text.trim_end_matches(['\n', '\r', ' ', '\t']).to_owned())
}
