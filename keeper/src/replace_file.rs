//! Replacing a file whole, or not at all, so that whoever reads it, or is killed, never has half of it. It is its owner's alone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes it beside, as `new`, and puts it in its place.
pub fn replace_file(new: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut options = File::options();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(new)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(new, path)
}
