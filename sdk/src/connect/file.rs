//! Files that somebody names: keys, certificates, secrets, settings.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Reads a regular file of at most `max` bytes, and never waits for a writer as a FIFO's reader
/// does.
///
/// # Errors
/// One line that names the file and why it can't be used.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let failed = |e: io::Error| format!("{}: {e}", path.display());
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(format!("{}: not a regular file", path.display()));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(format!(
            "{}: larger than {} KiB",
            path.display(),
            max / 1_024
        ));
    }
    Ok(bytes)
}
