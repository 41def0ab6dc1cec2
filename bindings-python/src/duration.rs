//! Durations: seconds as a number, or a `timedelta`.

use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyFloat;

use crate::error;

/// The duration in `value`, which the caller calls `what`.
pub(crate) fn parse(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    // Asked by method, since importing datetime takes longer than all the rest of this package.
    let seconds = match value.call_method0("total_seconds") {
        Ok(seconds) => seconds,
        Err(_) => value.clone(),
    };
    let number = seconds.cast::<PyFloat>().map(|f| f.value());
    let number = number.or_else(|_| seconds.extract::<f64>());
    let Ok(number) = number else {
        let given = value.get_type();
        return Err(PyTypeError::new_err(format!(
            "{what} is a number of seconds or a timedelta, not {}",
            given.name()?
        )));
    };
    Duration::try_from_secs_f64(number).map_err(|_| {
        error::config(
            value.py(),
            &format!("{what} of {number} seconds can't be used: it is a positive number"),
        )
    })
}

/// The same for what may be left out.
pub(crate) fn parse_optional(
    what: &str,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Duration>> {
    value.map(|value| parse(what, value)).transpose()
}
