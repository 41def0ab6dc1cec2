//! How many processes and threads are there, of those that this container's cgroup allows?

use std::io;
use std::path::{Path, PathBuf};

use super::file;
use super::share::Share;
use crate::link::connect::plain;
use crate::outcome::Outcome;

/// A host with many containers has some thousand mounts.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// `pids:`
pub fn ask(limit: Option<u8>) -> Outcome {
    match look() {
        Ok((levels, is_all)) => judge(&levels, is_all, limit),
        Err(cause) => Outcome::Unknown(cause),
    }
}

/// How many there are, and how many there may be.
type CgroupLevel = (u64, Option<u64>);

/// The levels of the cgroup of this process and those around it, and whether these are all.
fn look() -> Result<(Vec<CgroupLevel>, bool), String> {
    let read = |path: &Path| {
        file::read_text(path, MAX_BYTES).map_err(|e| format!("{}: {}", path.display(), plain(&e)))
    };
    let cgroup = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let folders = folders(&cgroup, &mounts)
        .ok_or("its cgroup is not mounted here, so its limit can't be read")?;
    let mut levels = Vec::new();
    let mut is_all = false;
    for folder in folders {
        let number = |name| match file::read_text(&folder.join(name), MAX_BYTES) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(format!("{}: {}", folder.join(name).display(), plain(&e))),
        };
        let (current, max) = (number("pids.current")?, number("pids.max")?);
        // The outermost of all has no limit to set.
        is_all = max.is_none();
        if let (Some(current), Some(max)) = (current, max) {
            let current = current.trim().parse();
            let current = current.map_err(|_| format!("{} holds no number", folder.display()))?;
            // "max" is no number, and no limit.
            levels.push((current, max.trim().parse().ok()));
        }
    }
    Ok((levels, is_all))
}

/// The one that is nearest to its limit counts; whichever is full, nothing can be started.
fn judge(levels: &[CgroupLevel], is_all: bool, limit: Option<u8>) -> Outcome {
    let limited = levels.iter().filter_map(|(part, whole)| {
        let (part, whole) = (*part, (*whole)?);
        Some(Share { part, whole })
    });
    let Some(most) = limited.max_by_key(|level| level.percent_used()) else {
        let said = levels.first().map_or_else(String::new, |(part, _)| {
            format!("{part} processes and threads, ")
        });
        // A pod's is around its containers, and none of them sees it.
        let from_here = if is_all {
            ""
        } else {
            " that can be seen from here"
        };
        return Outcome::Pass(format!("{said}no limit is set{from_here}"));
    };
    let Share { part, whole } = most;
    let said = format!(
        "{part} of {whole} processes and threads ({}%)",
        most.percent_used()
    );
    most.judge_used(limit, said)
}

/// Where the numbers are: the folder of this process's cgroup, then those around it, as far as they are mounted
/// here. See cgroups(7): a line of `/proc/self/cgroup` is `HIERARCHY:CONTROLLERS:PATH`, of version 2 `0::PATH`.
fn folders(cgroup: &str, mountinfo: &str) -> Option<Vec<PathBuf>> {
    let mut lines = cgroup
        .lines()
        .map(|line| line.splitn(3, ':').collect::<Vec<&str>>());
    let of_version_1 = |fields: &Vec<&str>| {
        fields
            .get(1)
            .is_some_and(|controllers| controllers.split(',').any(|one| one == "pids"))
    };
    let (path, kind) = match lines.clone().find(of_version_1) {
        Some(fields) => (*fields.get(2)?, "cgroup"),
        None => {
            let fields = lines.find(|fields| fields.first() == Some(&"0"))?;
            (*fields.get(2)?, "cgroup2")
        }
    };
    // Outside of what this cgroup namespace shows.
    if path.starts_with("/..") {
        return None;
    }
    let (point, below) = mountinfo.lines().find_map(|line| {
        let (root, point) = mounted(line, kind)?;
        Some((Path::new(point), Path::new(path).strip_prefix(root).ok()?))
    })?;
    let folder: PathBuf = point.components().chain(below.components()).collect();
    let around = folder
        .ancestors()
        .take_while(|around| around.starts_with(point));
    Some(around.map(Path::to_owned).collect())
}

/// What a line of `mountinfo` shows of the hierarchy, and where: fields 4 and 5, see proc_pid_mountinfo(5).
fn mounted<'a>(line: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let is_kind = after.next() == Some(kind);
    let options = after.next_back().unwrap_or_default();
    let has_pids = options.split(',').any(|one| one == "pids");
    if !is_kind || (kind == "cgroup" && !has_pids) {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    Some((fields.next()?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        let judge = |levels: &[CgroupLevel], limit| {
            let outcome = judge(levels, true, limit);
            format!("{} {}", outcome.word(), outcome.text())
        };
        let inner = (90, Some(100));
        for (levels, limit, want) in [
            (&[][..], Some(90), "pass no limit is set"),
            (
                &[(7, None)],
                Some(90),
                "pass 7 processes and threads, no limit is set",
            ),
            (&[inner], None, "pass 90 of 100 processes and threads (90%)"),
            (
                &[inner],
                Some(90),
                "pass 90 of 100 processes and threads (90%)",
            ),
            (
                &[inner],
                Some(89),
                "fail 90 of 100 processes and threads (90%), limit 89%",
            ),
            (
                &[inner, (950, Some(1_000)), (2_000, None)],
                Some(90),
                "fail 950 of 1000 processes and threads (95%), limit 90%",
            ),
            (
                &[(1, Some(0))],
                Some(90),
                "fail 1 of 0 processes and threads (100%), limit 90%",
            ),
        ] {
            assert_eq!(judge(levels, limit), want);
        }
        let within = super::judge(&[(7, None)], false, Some(90));
        assert_eq!(
            within.text(),
            "7 processes and threads, no limit is set that can be seen from here"
        );
    }

    /// As Docker, containerd and systemd show them to whom they contain.
    #[test]
    fn its_cgroup_is_found_in_both_versions() {
        let v1 = "12:pids:/docker/4d8e\n3:cpu,cpuacct:/docker/4d8e\n0::/system.slice\n";
        let v1_mounts = "\
            30 20 0:26 /docker/4d8e /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
            31 20 0:27 /docker/4d8e /sys/fs/cgroup/pids ro,nosuid master:9 - cgroup cgroup rw,pids\n\
            32 20 0:28 / /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n";
        let v2_mounts = "29 20 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n";
        let table = [
            (v1, v1_mounts, Some("/sys/fs/cgroup/pids")),
            (
                "12:pids:/\n",
                "31 20 0:27 / /sys/fs/cgroup/pids rw - cgroup pids rw,pids\n",
                Some("/sys/fs/cgroup/pids"),
            ),
            (
                "12:pids:/docker/4d8e/worker\n",
                v1_mounts,
                Some("/sys/fs/cgroup/pids/worker /sys/fs/cgroup/pids"),
            ),
            ("12:pids:/elsewhere\n", v1_mounts, None),
            ("0::/\n", v2_mounts, Some("/sys/fs/cgroup")),
            (
                "0::/system.slice/app.service\n",
                v2_mounts,
                Some(
                    "/sys/fs/cgroup/system.slice/app.service /sys/fs/cgroup/system.slice /sys/fs/cgroup",
                ),
            ),
            ("0::/../app.service\n", v2_mounts, None),
            ("0::/\n", "29 20 0:26 / / rw - overlay overlay rw\n", None),
            ("", v2_mounts, None),
        ];
        for (cgroup, mounts, want) in table {
            let found = folders(cgroup, mounts).map(|folders| {
                let folders = folders.iter().map(|folder| folder.display().to_string());
                folders.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(found.as_deref(), want, "{cgroup}");
        }
    }
}
