//! Which mount that may hang a question has to ask.

use std::path::{Path, PathBuf};

use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::tls::TlsOptions;
use ready_probe_sdk::folder::Folder;
use ready_probe_sdk::host::Mounts;

use crate::check::Context;
use crate::target::{Body, Kind, Target};

/// Where the mount is that a question has to ask, if there is one.
pub fn of_target(mounts: &Mounts, target: &Target, context: Context<'_>) -> Option<PathBuf> {
    if target.asks(|kind| matches!(kind, Kind::Agent { .. }))
        && let Some(point) = of_folder(mounts, context.folder)
    {
        return Some(point);
    }
    let paths = paths(target, context);
    let mut hanging = paths.iter().filter_map(|path| mounts.hanging(path));
    hanging.next().map(|mount| mount.point().to_owned())
}

/// The same for a folder of signals.
pub fn of_folder(mounts: &Mounts, folder: &Folder) -> Option<PathBuf> {
    let mut hanging = folder.dirs().filter_map(|dir| mounts.hanging_around(dir));
    hanging.next().map(|mount| mount.point().to_owned())
}

/// Whether all that a question does is to read a file: for ever, on a file system that hangs.
pub fn is_read(target: &Target) -> bool {
    match &target.kind {
        Kind::File(_) | Kind::Pid(_) | Kind::Resource(_) => true,
        Kind::Agents
        | Kind::Agent { .. }
        | Kind::Peer { .. }
        | Kind::Redis(_)
        | Kind::Nats(_)
        | Kind::Http(_)
        | Kind::Connect(_)
        | Kind::Process { .. }
        | Kind::Exec(_)
        | Kind::Supervisor(_)
        | Kind::Container(_)
        | Kind::Any(_) => false,
    }
}

/// The files and sockets that a question looks at.
fn paths(target: &Target, context: Context<'_>) -> Vec<PathBuf> {
    match &target.kind {
        // Its folder is told by `of_folder`.
        Kind::Agents | Kind::Agent { .. } | Kind::Process { .. } => Vec::new(),
        Kind::Peer { .. } => context
            .place
            .map_or_else(Vec::new, |place| place.store.files()),
        Kind::Redis(redis) => redis.address.files(&redis.tls),
        Kind::Nats(nats) => nats.address.files(&nats.tls),
        Kind::Http(http) => {
            let mut paths = socket(&http.endpoint);
            paths.extend(http.tls.iter().flat_map(TlsOptions::files));
            if let Body::File(path) = &http.body {
                paths.push(path.clone());
            }
            paths
        }
        Kind::Connect(endpoint) => socket(endpoint),
        Kind::Supervisor(supervisor) => socket(&supervisor.at),
        Kind::Container(container) => socket(&container.at),
        Kind::Pid(path) => vec![path.clone()],
        Kind::Resource(resource) => resource.path().map(Path::to_owned).into_iter().collect(),
        Kind::File(file) => vec![file.path.clone()],
        Kind::Exec(argv) => {
            let mut paths = argv.first().map_or_else(Vec::new, |name| programs(name));
            // Where it reads from.
            paths.push(PathBuf::from("/dev/null"));
            paths
        }
        Kind::Any(targets) => targets
            .iter()
            .flat_map(|target| paths(target, context))
            .collect(),
    }
}

fn socket(endpoint: &Endpoint) -> Vec<PathBuf> {
    endpoint.socket().map(Path::to_owned).into_iter().collect()
}

/// Where a program may be, which is looked for before it can be started.
fn programs(name: &str) -> Vec<PathBuf> {
    if name.contains('/') {
        return vec![PathBuf::from(name)];
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .collect()
}
