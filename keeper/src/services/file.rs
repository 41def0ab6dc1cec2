//! Reading the file of services: who can write it decides what is run here.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Larger ones are not what is meant.
const MAX_BYTES: u64 = 1024 * 1024;
const STICKY: u32 = 0o1000;
const BY_OTHERS: u32 = 0o022;

/// Its text, if nobody else can have written it.
pub fn read(path: &Path) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    // A link leads to a file that others must not have written either, and the link itself is in a folder of theirs or ours.
    let real = fs::canonicalize(path).map_err(failed)?;
    for one in [path, &real] {
        let absolute = std::path::absolute(one).map_err(failed)?;
        for folder in absolute.ancestors().skip(1) {
            let meta = fs::metadata(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            trust(folder, &meta)?;
        }
    }
    // A FIFO is not waited for.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = File::options();
    options.read(true).custom_flags(nonblock);
    let file = options.open(&real).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(format!("{}: it is no regular file", path.display()));
    }
    trust(&real, &meta)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!(
            "{}: it has more than {MAX_BYTES} bytes: is it the right file?",
            path.display()
        ));
    }
    Ok(text)
}

/// Whether only this user and root can change it. In a folder with the sticky bit nobody replaces another's file.
fn trust(path: &Path, meta: &Metadata) -> Result<(), String> {
    let at = path.display();
    let me = rustix::process::geteuid().as_raw();
    let is_kept = meta.is_dir() && meta.mode() & STICKY != 0;
    if meta.mode() & BY_OTHERS != 0 && !is_kept {
        return Err(format!(
            "{at}: others may write it, and so decide what is run here: chmod go-w {at}"
        ));
    }
    if meta.uid() != me && meta.uid() != 0 {
        return Err(format!(
            "{at}: it belongs to user {}, who would decide what user {me} runs: chown {me} {at}",
            meta.uid()
        ));
    }
    Ok(())
}
