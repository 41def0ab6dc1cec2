//! Text: a `str` of Python. It may hold lone surrogates, as names of files do that are no UTF-8, and
//! then is nothing that can be published as it is.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::error;

/// What is published for people to read, or is checked anyhow: with surrogates written as `\udcff`.
pub(crate) fn lossy(what: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = string(what, value)?;
    match text.to_str() {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => escaped(text),
    }
}

/// What has to be meant as it is.
pub(crate) fn exact(what: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = string(what, value)?;
    text.to_str()
        .map(ToOwned::to_owned)
        .map_err(|_| surrogates(what, value.py()))
}

/// The same for what may be left out.
pub(crate) fn exact_optional(
    what: &str,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<String>> {
    value.map(|value| exact(what, value)).transpose()
}

/// The error of what can't be used because of surrogates. Does not quote it: it may be a secret.
pub(crate) fn surrogates(what: &str, py: Python<'_>) -> PyErr {
    let why =
        format!("{what} can't be used: it holds a lone surrogate, which UTF-8 has no room for");
    error::config(py, &why)
}

fn string<'a, 'py>(what: &str, value: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyString>> {
    match value.cast::<PyString>() {
        Ok(text) => Ok(text),
        Err(_) => {
            let given = value.get_type();
            let given = given.name()?;
            Err(PyTypeError::new_err(format!(
                "{what} is a str, not {given}"
            )))
        }
    }
}

fn escaped(text: &Bound<'_, PyString>) -> PyResult<String> {
    let bytes = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
    let bytes = bytes.cast::<PyBytes>()?;
    Ok(String::from_utf8_lossy(bytes.as_bytes()).into_owned())
}
