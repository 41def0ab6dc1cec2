//! The only reader of clocks.
//!
//! Decisions use `CLOCK_MONOTONIC` in whole milliseconds. It does not advance while the host is
//! suspended, so a suspended host does not expire its agents; all processes of one boot share it.
//! The wall clock serves people only.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of `CLOCK_MONOTONIC`, see clock_gettime(2).
#[must_use]
pub fn mono_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The kernel's monotonic clock starts at zero at boot; neither part is ever negative.
    now.tv_sec.unsigned_abs() * 1_000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// A duration as whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The time of day in UTC as RFC 3339, whole seconds: `2026-11-22T03:00:00Z`.
#[must_use]
pub fn wall_rfc3339() -> String {
    rfc3339(wall())
}

/// A time of day in UTC as RFC 3339, whole seconds.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    // A host without a battery may wake up before 1970, which has no such text.
    humantime::format_rfc3339_seconds(at.max(SystemTime::UNIX_EPOCH)).to_string()
}

/// How long ago a time of [`wall_rfc3339`] was, perhaps another host's; nothing where it is none, or is still
/// to come by this host's clock. For people only.
#[must_use]
pub fn age_of(rfc3339: &str) -> Option<Duration> {
    let then = humantime::parse_rfc3339(rfc3339).ok()?;
    wall().duration_since(then).ok()
}

/// The time of day.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "this module is where clocks are read"
)]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The time of day in whole milliseconds since 1970, for what outlives a boot; 0 where a host believes that it is before that.
#[must_use]
pub fn wall_ms() -> u64 {
    wall()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, millis)
}

/// Time since boot, suspended time included (`CLOCK_BOOTTIME`): what `/proc/PID/stat` counts from.
#[must_use]
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::from_secs(now.tv_sec.unsigned_abs())
        + Duration::from_nanos(now.tv_nsec.unsigned_abs())
}

/// A point in time to measure from and to wait for.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "this module is where clocks are read"
)]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}
