//! Small text files that somebody names: the configuration, secrets, keys.

use std::path::Path;

use ready_probe_sdk::connect::file;

/// No configuration and no key is larger.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads a small text file without its last line ending.
pub fn read(path: &Path) -> Result<String, String> {
    let bytes = file::read(path, MAX_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{}: not UTF-8", path.display()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
