//! How a report is told: what is printed, how the run ends, and `--output FILE`: the report in a file as well, whole or
//! not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ready_probe::report::Report;
use ready_probe::report::limit::MAX_BYTES;
use ready_probe::settings::{Format, Settings};
use ready_probe::verdict::Verdict;
use ready_probe_sdk::trimmed_variable;

use crate::exit::Exit;
use crate::metrics;
use crate::start::Start;

/// Everybody may read it, also who collects metrics as another user.
const MODE: u32 = 0o644;
/// What a file gets beyond the deadline, when people have been told.
const FOR_FILE: Duration = Duration::from_secs(1);

/// What is printed of a report, and how the run ends.
pub fn finish(report: &Report, settings: &Settings, start: &Start) -> Exit {
    finish_as(settings.format.value, report, settings, start)
}

/// The same in another format.
fn finish_as(format: Format, report: &Report, settings: &Settings, start: &Start) -> Exit {
    let healthy = report.verdict.is_healthy();
    let text = match (settings.quiet.value, format) {
        (true, Format::Text | Format::Json) if healthy => String::new(),
        (true, Format::Text) => report.first_line() + "\n",
        (false, Format::Text) => coloured(report.text(), report.verdict),
        (true | false, Format::Json | Format::Prometheus) => {
            whole(report, settings, start.elapsed(), start)
        }
    };
    if healthy {
        Exit::Done(text)
    } else {
        Exit::Failed(text)
    }
}

/// All of a report, in the format that is set.
fn whole(report: &Report, settings: &Settings, took: Duration, start: &Start) -> String {
    match settings.format.value {
        Format::Text => report.text(),
        Format::Json => report.json(took),
        Format::Prometheus => {
            // They are more than what a reader takes at once.
            start.watch();
            metrics::of(report, settings, took, start)
        }
    }
}

/// Prints it as text, and writes all of it to a file in the format that is set. Tells whether somebody has taken what was
/// printed.
///
/// People are told first: whatever becomes of the file, the health check is answered.
pub fn in_file(report: &Report, settings: &Settings, file: &Path, start: &Start) -> (Exit, bool) {
    let took = start.elapsed();
    let told = finish_as(Format::Text, report, settings, start);
    then_write(told, file, || whole(report, settings, took, start), start)
}

/// The same of what is printed and what is written.
pub fn then_write(
    told: Exit,
    file: &Path,
    whole: impl FnOnce() -> String,
    start: &Start,
) -> (Exit, bool) {
    start.watch();
    let (exit, is_told) = start.say_first(told, FOR_FILE);
    let Err(e) = write(file, &whole(), start) else {
        return (exit, is_told);
    };
    let file = file.display();
    let why = format!("ready-probe: --output {file}: it can't be written: {e}\n");
    let exit = Exit::Passed {
        status: exit.status(),
        stdout: Vec::new(),
        stderr: why.into_bytes(),
    };
    (exit, is_told)
}

/// Beside its place and then renamed: nobody ever reads half of it.
fn write(path: &Path, text: &str, start: &Start) -> io::Result<()> {
    let mut mounts = start.far_mounts().into_iter();
    if let Some(mount) = mounts.find_map(|mounts| mounts.hanging(path)) {
        let point = mount.point().display();
        let why = format!("{point} may hang, and nothing here may wait for it; name a local file");
        return Err(io::Error::other(why));
    }
    // A rename would put a file in the place of a device such as /dev/stdout.
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => return Err(io::Error::other("it is no regular file")),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(_) | Err(_) => {}
    }
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(new);
    let written = fill(&new, text).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // Best effort: who has the same process id next uses it up.
        let _ = fs::remove_file(&new);
    }
    written
}

fn fill(new: &Path, text: &str) -> io::Result<()> {
    // Of one that was killed. A link that somebody else has put there is not followed.
    let _ = fs::remove_file(new);
    let mut file = File::create_new(new)?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(text.as_bytes())
}

/// Colours the verdict where a person looks at it.
fn coloured(text: String, verdict: Verdict) -> String {
    if !io::stdout().is_terminal() || trimmed_variable::read("NO_COLOR").is_some() {
        debug_assert!(text.len() <= MAX_BYTES);
        return text;
    }
    let colour = match verdict {
        Verdict::Healthy => 32,
        Verdict::Degraded | Verdict::Starting => 33,
        Verdict::Unhealthy => 31,
    };
    let word = verdict.word();
    text.replacen(word, &format!("\u{1b}[{colour}m{word}\u{1b}[0m"), 1)
}
