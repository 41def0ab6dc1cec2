//! Where to announce: `READY_STORE`, `READY_NAMESPACE` and what belongs to them.

use std::path::Path;
use std::time::Duration;

use crate::connect::file;
use crate::connect::store::{
    DEFAULT_NAMESPACE, MAX_AGE_VARIABLE, NAMESPACE_VARIABLE, STORE_VARIABLE, StoreAddress,
};
use crate::signal::{Name, check_ttl_ms};
use crate::{Result, clock, variable};

/// No address is longer.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A store, and the namespace in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) address: StoreAddress,
    pub(crate) namespace: Name,
}

impl Destination {
    /// What was chosen in the program, completed from the environment; nothing when neither names
    /// a store.
    pub(crate) fn resolve(store: Option<&str>, namespace: Option<&str>) -> Result<Option<Self>> {
        let address = match store {
            Some(store) => Some(StoreAddress::parse(store)?),
            None => from_env()?,
        };
        let Some(mut address) = address else {
            return Ok(None);
        };
        if let Some(max_age) = variable::read_text(MAX_AGE_VARIABLE)? {
            let max_age =
                max_age_of(&max_age).map_err(|why| variable::invalid(MAX_AGE_VARIABLE, &why))?;
            address = address.with_max_age(max_age);
        }
        let namespace = match namespace {
            Some(namespace) => Name::new(namespace)?,
            None => match variable::read_text(NAMESPACE_VARIABLE)? {
                Some(name) => Name::new(&name)
                    .map_err(|e| variable::invalid(NAMESPACE_VARIABLE, &e.to_string()))?,
                None => Name::new(DEFAULT_NAMESPACE)?,
            },
        };
        Ok(Some(Self { address, namespace }))
    }
}

fn from_env() -> Result<Option<StoreAddress>> {
    let file_variable = format!("{STORE_VARIABLE}_FILE");
    let (text, at) = match (
        variable::read_text(STORE_VARIABLE)?,
        variable::read_text(&file_variable)?,
    ) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let why = format!("{STORE_VARIABLE} is set as well; set one of them");
            return Err(variable::invalid(&file_variable, &why));
        }
        (Some(text), None) => (text, STORE_VARIABLE.to_owned()),
        (None, Some(path)) => {
            let read = file::read(Path::new(&path), MAX_FILE_BYTES)
                .map_err(|e| e.to_string())
                .and_then(|bytes| {
                    String::from_utf8(bytes).map_err(|_| format!("{path}: not UTF-8"))
                });
            (
                read.map_err(|e| variable::invalid(&file_variable, &e))?,
                file_variable,
            )
        }
    };
    StoreAddress::parse(text.trim())
        .map(Some)
        .map_err(|e| variable::invalid(&at, &e.to_string()))
}

fn max_age_of(text: &str) -> std::result::Result<Duration, String> {
    let max_age = humantime::parse_duration(text)
        .map_err(|_| "it is written with a unit, as in 60s or 5m".to_owned())?;
    let max_age_ms = clock::millis(max_age);
    check_ttl_ms(max_age_ms).map_err(|e| e.to_string())?;
    Ok(max_age)
}
