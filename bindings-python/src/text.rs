//! Text: a `str` of Python. It may hold lone surrogates, as file names do that are not UTF-8, and
//! then it can't be published as it is.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::error;

/// Text for people, or text that is checked anyhow: surrogates are written as `\udcff`.
pub(crate) fn lossy(what: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = string(what, value)?;
    match text.to_str() {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => escaped(text),
    }
}

/// Text that has to stay as it is.
pub(crate) fn exact(what: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = string(what, value)?;
    text.to_str()
        .map(ToOwned::to_owned)
        .map_err(|_| surrogates(what, value.py()))
}

/// The same for text that may be left out.
pub(crate) fn exact_optional(
    what: &str,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<String>> {
    value.map(|value| exact(what, value)).transpose()
}

/// The error of a text with surrogates. It does not quote the text, which may be a secret.
pub(crate) fn surrogates(what: &str, py: Python<'_>) -> PyErr {
    let why = format!("{what} can't be used: it holds a lone surrogate, which UTF-8 can't hold");
    error::config(py, &why)
}

fn string<'a, 'py>(what: &str, value: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyString>> {
    match value.cast::<PyString>() {
        Ok(text) => Ok(text),
        Err(_) => {
            let given = value.get_type();
            let given = given.name()?;
            Err(PyTypeError::new_err(format!(
                "{what} must be a str, not {given}"
            )))
        }
    }
}

fn escaped(text: &Bound<'_, PyString>) -> PyResult<String> {
    let bytes = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
    let bytes = bytes.cast::<PyBytes>()?;
    Ok(String::from_utf8_lossy(bytes.as_bytes()).into_owned())
}
