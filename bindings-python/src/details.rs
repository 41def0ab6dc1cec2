//! Details: a dict of Python as a JSON object.
//!
//! Not by the `json` module: importing that takes longer than all the rest of this package.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::{Map, Number, Value};

use crate::{error, text};

/// A record has no room for deeper nesting, and a list that contains itself has to end.
const MAX_DEPTH: usize = 32;

/// The details that a caller gave.
pub(crate) fn parse(details: Option<&Bound<'_, PyAny>>) -> PyResult<Map<String, Value>> {
    match details {
        None => Ok(Map::new()),
        Some(details) => match details.cast::<PyDict>() {
            Ok(dict) => object(dict, "details", 0),
            Err(_) => Err(refuse(details, "details", "a dict")),
        },
    }
}

fn object(dict: &Bound<'_, PyDict>, path: &str, depth: usize) -> PyResult<Map<String, Value>> {
    let mut map = Map::new();
    // A copy: converting a value may run code that changes the dict.
    for (key, item) in dict.copy()?.iter() {
        let Ok(name) = key.cast::<PyString>() else {
            return Err(refuse(&key, &format!("a key of {path}"), "a str"));
        };
        let Ok(name) = name.to_str() else {
            return Err(text::surrogates(&format!("a key of {path}"), dict.py()));
        };
        let item = value(&item, &format!("{path}[{name:?}]"), depth + 1)?;
        map.insert(name.to_owned(), item);
    }
    Ok(map)
}

fn value(item: &Bound<'_, PyAny>, path: &str, depth: usize) -> PyResult<Value> {
    if depth > MAX_DEPTH {
        let why = format!("details are nested deeper than {MAX_DEPTH} levels");
        return Err(error::config(item.py(), &why));
    }
    if item.is_none() {
        return Ok(Value::Null);
    }
    // Before int, which bool derives from.
    if let Ok(flag) = item.cast::<PyBool>() {
        return Ok(Value::Bool(flag.is_true()));
    }
    if let Ok(text) = item.cast::<PyString>() {
        let text = text.to_str().map(ToOwned::to_owned);
        return text
            .map(Value::String)
            .map_err(|_| text::surrogates(path, item.py()));
    }
    if item.cast::<PyInt>().is_ok() {
        let number = item.extract::<i64>().map(Number::from);
        return number
            .or_else(|_| item.extract::<u64>().map(Number::from))
            .map(Value::Number)
            .map_err(|_| refuse(item, path, "an integer of at most 64 bits"));
    }
    if let Ok(float) = item.cast::<PyFloat>() {
        return Number::from_f64(float.value())
            .map(Value::Number)
            .ok_or_else(|| refuse(item, path, "a finite number"));
    }
    if let Ok(dict) = item.cast::<PyDict>() {
        return object(dict, path, depth).map(Value::Object);
    }
    let list = match item.cast::<PyTuple>() {
        Ok(tuple) => tuple.to_list(),
        Err(_) => match item.cast::<PyList>() {
            Ok(list) => list.clone(),
            Err(_) => {
                let wanted = "None, a bool, number, str, list, tuple or dict";
                return Err(refuse(item, path, wanted));
            }
        },
    };
    let items = list.iter().enumerate();
    items
        .map(|(i, item)| value(&item, &format!("{path}[{i}]"), depth + 1))
        .collect::<PyResult<_>>()
        .map(Value::Array)
}

fn refuse(item: &Bound<'_, PyAny>, path: &str, wanted: &str) -> PyErr {
    let given = match item.get_type().name() {
        Ok(name) => name.to_string(),
        Err(e) => return e,
    };
    let why = format!("{path} must be {wanted}, to be published as JSON; this is of type {given}");
    error::config(item.py(), &why)
}
