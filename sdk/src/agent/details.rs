//! Details as they are published: a JSON object.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

/// Details as they are published.
pub(super) fn object(details: &impl Serialize) -> Result<Map<String, Value>> {
    let what = match serde_json::to_value(details) {
        Ok(Value::Null) => return Ok(Map::new()),
        Ok(Value::Object(map)) => return Ok(map),
        Ok(Value::Array(_)) => "an array".to_owned(),
        Ok(Value::String(_) | Value::Number(_) | Value::Bool(_)) => "a single value".to_owned(),
        Err(e) => {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("details can't be written as JSON: {e}"),
            ));
        }
    };
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!("details must be a JSON object, not {what}: give each value a name"),
    ))
}
