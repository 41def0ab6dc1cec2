//! What is known about the settings before any file is read: a file may be on a disk that hangs.

use std::path::PathBuf;
use std::time::Duration;

use ready_probe_sdk::folder::{DIR_VARIABLE, Folder};

use super::env::Env;
use super::file::{self, ConfigFile};
use super::flags::Flags;
use super::origin::Invalid;
use super::{CONFIG_VARIABLE, FILE_VARIABLES, Format};

/// The files that resolving reads or looks for, and where each was set.
pub fn files(options: &Flags, env: &Env<'_>) -> Vec<(String, PathBuf)> {
    let typed = options
        .config
        .as_ref()
        .map(|path| ("--config".to_owned(), path.into()));
    let in_env = FILE_VARIABLES
        .iter()
        .filter(|name| typed.is_none() || **name != CONFIG_VARIABLE)
        .filter_map(|name| Some(((*name).to_owned(), env.path(name)?)));
    let mut files: Vec<(String, PathBuf)> = typed.clone().into_iter().chain(in_env).collect();
    if typed.is_none() && !env.is_set(CONFIG_VARIABLE) {
        files.push((
            "configuration".to_owned(),
            PathBuf::from(file::DEFAULT_PATH),
        ));
    }
    files
}

/// The folder of signals, as far as it is known.
pub fn folder(options: &Flags, env: &Env<'_>) -> Folder {
    let typed = options.dir.as_ref().map(PathBuf::from);
    let chosen = typed.or_else(|| env.path(DIR_VARIABLE));
    // Whoever resolves the settings reports a folder that can't be used.
    chosen
        .and_then(|dir| Folder::at(&dir).ok())
        .unwrap_or_default()
}

/// How to report, as far as that is known.
pub fn format(options: &Flags, env: &Env<'_>) -> Format {
    let in_env = || Some(env.variable("READY_FORMAT").ok()??.value);
    match options.format.clone().or_else(in_env).as_deref() {
        Some("json") => Format::Json,
        Some("prometheus") => Format::Prometheus,
        Some(_) | None => Format::Text,
    }
}

/// Whether resolving reads files, which may be on a disk that hangs.
pub fn reads_files(options: &Flags, env: &Env<'_>) -> bool {
    options.config.is_some()
        || FILE_VARIABLES.iter().any(|name| env.is_set(name))
        || ConfigFile::is_there()
}

/// The deadline, as far as it is known.
pub fn timeout(options: &Flags, env: &Env<'_>) -> Result<Duration, Invalid> {
    super::timeout(options, env, None).map(|setting| setting.value)
}
