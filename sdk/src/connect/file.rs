//! Files that somebody names: keys, certificates, secrets, settings.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// No address, configuration or key is larger.
const MAX_TEXT_BYTES: u64 = 64 * 1024;
/// What editors on Windows put there, and nobody sees.
const BOM: &str = "it begins with a byte order mark; save it as UTF-8 without one";

/// How a small text file is read: [`read_text`], or by way of a round.
pub type ReadText = fn(&Path) -> Result<String, UnusableFile>;

/// A file that can't be used. Displayed as one line that names it and says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableFile {
    path: PathBuf,
    why: String,
    content: bool,
}

impl UnusableFile {
    /// The file is there, and what it holds can't be used.
    #[must_use]
    pub fn content(path: &Path, why: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            why: why.into(),
            content: true,
        }
    }

    /// Whether the file is there, and what it holds can't be used.
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.content
    }

    /// Why, without the file's name.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for UnusableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl From<UnusableFile> for String {
    fn from(e: UnusableFile) -> Self {
        e.to_string()
    }
}

/// Reads a regular file of at most `max` bytes, and never waits for a writer as a FIFO's reader
/// does.
///
/// # Errors
/// When there is no such file, it may not be read, or it is larger.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>, UnusableFile> {
    let unusable = |why: String| UnusableFile {
        path: path.to_owned(),
        why,
        content: false,
    };
    let failed = |e: io::Error| unusable(e.to_string());
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(unusable("not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(UnusableFile::content(
            path,
            format!("larger than {} KiB", max / 1_024),
        ));
    }
    Ok(bytes)
}

/// A small text file, without the line ends and blanks at its end.
///
/// # Errors
/// When it can't be read, is too large, not UTF-8, or begins with a byte order mark.
pub fn read_text(path: &Path) -> Result<String, UnusableFile> {
    let unusable = |why: &str| UnusableFile::content(path, why);
    let bytes = read(path, MAX_TEXT_BYTES)?;
    match bytes.as_slice() {
        [0xef, 0xbb, 0xbf, ..] => return Err(unusable(BOM)),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err(unusable("not UTF-8 but UTF-16")),
        _ => {}
    }
    let text = String::from_utf8(bytes).map_err(|_| unusable("not UTF-8"))?;
    Ok(text.trim_end_matches(['\n', '\r', ' ', '\t']).to_owned())
}
