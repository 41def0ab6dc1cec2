//! Durations: seconds as a number, or a `timedelta`.

use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat};
use ready_probe_sdk::signal::MAX_TTL_MS;

use crate::error;

/// Thirty years: whoever asks for more has made a mistake, and clocks may overflow.
const MAX_SECONDS: f64 = 1e9;
/// What the SDK takes.
const MAX_TTL: Duration = Duration::from_millis(MAX_TTL_MS);

/// The duration in `value`, which the caller calls `what`.
pub(crate) fn parse(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    // Asked by method, since importing datetime takes longer than all the rest of this package.
    let given = match value.call_method0("total_seconds") {
        Ok(seconds) => seconds,
        Err(_) => value.clone(),
    };
    let number = match given.cast::<PyFloat>() {
        Ok(float) => float.value(),
        Err(_) if given.is_instance_of::<PyBool>() => return Err(not_a_number(what, value)),
        Err(_) => match given.extract::<f64>() {
            Ok(number) => number,
            // An integer that no float is large enough for.
            Err(e) if e.is_instance_of::<PyOverflowError>(value.py()) => f64::INFINITY,
            Err(_) => return Err(not_a_number(what, value)),
        },
    };
    if (0.0..=MAX_SECONDS).contains(&number) {
        return Ok(Duration::from_secs_f64(number));
    }
    let why = format!(
        "{what} of {number:?} seconds can't be used: it must be a number from 0 to {MAX_SECONDS}"
    );
    Err(error::config(value.py(), &why))
}

/// A TTL. Whoever writes 60000 means milliseconds.
pub(crate) fn ttl(value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let ttl = parse("ttl", value)?;
    if ttl <= MAX_TTL {
        return Ok(ttl);
    }
    let (given, most) = (ttl.as_secs_f64(), MAX_TTL.as_secs());
    let why = format!(
        "a ttl of {given} seconds is out of range: at least 1, at most {most}; a number is seconds and \
         not milliseconds, ttl=60 a minute"
    );
    Err(error::config(value.py(), &why))
}

/// The same for a duration that may be left out.
pub(crate) fn parse_optional(
    what: &str,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Duration>> {
    value.map(|value| parse(what, value)).transpose()
}

/// The same in seconds, for code that waits in Python.
#[pyfunction]
pub(crate) fn seconds(what: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    parse(what, value).map(|duration| duration.as_secs_f64())
}

fn not_a_number(what: &str, value: &Bound<'_, PyAny>) -> PyErr {
    match value.get_type().name() {
        Ok(given) => PyTypeError::new_err(format!(
            "{what} must be a number of seconds or a timedelta, not {given}"
        )),
        Err(e) => e,
    }
}
