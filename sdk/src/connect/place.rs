//! Where agents are announced and looked for: `READY_STORE`, `READY_NAMESPACE` and their relatives.
//! Agents and the probe read them here, by the same rules.

use std::time::Duration;

use super::env_or_file::{Lookup, UnusableVariable, address, text, unusable};
use super::redact::shown;
use super::store::{
    DEFAULT_NAMESPACE, MAX_AGE_VARIABLE, NAMESPACE_VARIABLE, STORE_VARIABLE, StoreAddress,
};
use crate::clock::millis;
use crate::duration;
use crate::signal::{Name, check_ttl_ms};

/// A store, and the namespace in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The store.
    pub store: StoreAddress,
    /// The namespace in it.
    pub namespace: Name,
}

impl Place {
    /// What the program chose, completed from the environment; `None` if neither names a store.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfig`] and [`crate::ErrorKind::InvalidName`], with the variable that is at fault.
    pub fn resolve(
        store: Option<&str>,
        namespace: Option<&str>,
        lookup: Lookup<'_>,
    ) -> crate::Result<Option<Self>> {
        let store = match store {
            Some(store) => StoreAddress::parse(store)?,
            None => match address(lookup, STORE_VARIABLE)? {
                None => return Ok(None),
                Some((text, source)) => {
                    StoreAddress::parse(&text).map_err(|e| UnusableVariable {
                        source,
                        why: e.to_string(),
                    })?
                }
            },
        };
        let namespace = match namespace {
            Some(namespace) => Name::new(namespace)?,
            None => namespace_of_environment(lookup)?,
        };
        Ok(Some(Self::new(store, namespace, max_age(lookup)?)))
    }

    /// A store and a namespace in it; a nats-server before 2.11 keeps its records for `max_age`.
    #[must_use]
    pub fn new(store: StoreAddress, namespace: Name, max_age: Option<Duration>) -> Self {
        Self {
            store: match max_age {
                Some(max_age) => store.with_max_age(max_age),
                None => store,
            },
            namespace,
        }
    }
}

fn namespace_of_environment(lookup: Lookup<'_>) -> crate::Result<Name> {
    match text(lookup, NAMESPACE_VARIABLE)? {
        None => Name::new(DEFAULT_NAMESPACE),
        Some(name) => {
            Name::new(&name).map_err(|e| unusable(NAMESPACE_VARIABLE, &e.to_string()).into())
        }
    }
}

/// `READY_NATS_MAX_AGE`: how long a nats-server before 2.11 keeps records.
///
/// # Errors
/// [`UnusableVariable`] when it is no duration, or no TTL could be as long.
pub fn max_age(lookup: Lookup<'_>) -> Result<Option<Duration>, UnusableVariable> {
    let Some(text) = text(lookup, MAX_AGE_VARIABLE)? else {
        return Ok(None);
    };
    let max_age = duration::parse(&text)
        .map_err(|why| unusable(MAX_AGE_VARIABLE, &format!("{} {why}", shown(&text))))?;
    check_ttl_ms(millis(max_age)).map_err(|e| unusable(MAX_AGE_VARIABLE, &e.to_string()))?;
    Ok(Some(max_age))
}
