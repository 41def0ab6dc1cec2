//! What the store has answered, for Python.

use pyo3::prelude::*;

/// What the store made of the last record that it was sent.
///
/// :ivar store: the store's address, without its secrets.
/// :ivar ok: whether it has taken the record.
/// :ivar reason: why it has not, or `None`.
#[pyclass(frozen, get_all, eq, module = "ready_probe")]
#[derive(PartialEq)]
pub(crate) struct Announced {
    pub(crate) store: String,
    pub(crate) ok: bool,
    pub(crate) reason: Option<String>,
}

#[pymethods]
impl Announced {
    fn __repr__(&self) -> String {
        let Self { store, ok, reason } = self;
        let ok = if *ok { "True" } else { "False" };
        let reason = reason
            .as_ref()
            .map_or("None".to_owned(), |reason| format!("{reason:?}"));
        format!("Announced(store={store:?}, ok={ok}, reason={reason})")
    }
}
