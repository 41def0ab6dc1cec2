//! A wall clock that a test sets, for one server.
//!
//! A library that the server is started with (`LD_PRELOAD`, ld.so(8)) answers in place of the C library,
//! and adds to the kernel's time what a file says. Only the wall clock is shifted: Redis expires keys by it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_SHIFT_FILE"), "re");
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    if (syscall(SYS_clock_gettime, id, now)) return -1;
    if (id == CLOCK_REALTIME) now->tv_sec += shift();
    return 0;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void) zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"#;

/// Has a program that is about to be started run by a clock of its own.
///
/// # Panics
/// When the library can't be compiled.
pub(super) fn give_clock(command: &mut Command, dir: &Path) {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    fs::write(&source, SOURCE).expect("the server's directory is ours");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .output()
        .expect("cc is missing: `apt-get install gcc`");
    assert!(compiled.status.success(), "{compiled:?}");
    command
        .env("LD_PRELOAD", library)
        .env("CLOCK_SHIFT_FILE", shift_file(dir));
}

/// Sets the clock of that program so far ahead of the kernel's, or behind it.
pub(super) fn set(dir: &Path, seconds: i64) {
    let temporary = dir.join("shift.tmp");
    fs::write(&temporary, seconds.to_string()).expect("the server's directory is ours");
    fs::rename(temporary, shift_file(dir)).expect("the server's directory is ours");
}

fn shift_file(dir: &Path) -> PathBuf {
    dir.join("shift")
}
