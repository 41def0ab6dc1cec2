//! The one-line functions.

use pyo3::prelude::*;
use ready_probe_sdk as sdk;

use crate::life::call;
use crate::{details, duration, text};

/// Marks an agent that the process holds; registers it with these options if there is none.
#[pyfunction]
pub(crate) fn mark_agent_ready(
    py: Python<'_>,
    name: &Bound<'_, PyAny>,
    details: Option<&Bound<'_, PyAny>>,
    ttl: &Bound<'_, PyAny>,
    watchdog: Option<&Bound<'_, PyAny>>,
    store: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let details = details::parse(details)?;
    let name = text::lossy("name", name)?;
    let mut described = sdk::Agent::builder(&name).ttl(duration::ttl(ttl)?);
    if let Some(limit) = duration::parse_optional("watchdog", watchdog)? {
        described = described.watchdog(limit);
    }
    if let Some(store) = text::exact_optional("store", store)? {
        described = described.store(&store);
    }
    call(py, || described.mark_ready(details))
}

/// Marks an agent that the process holds.
#[pyfunction]
pub(crate) fn mark_agent_not_ready(
    py: Python<'_>,
    name: &Bound<'_, PyAny>,
    reason: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let name = text::lossy("name", name)?;
    let reason = text::lossy("reason", reason)?;
    call(py, || sdk::mark_agent_not_ready(&name, &reason))
}
