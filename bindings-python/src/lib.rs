//! `ready_probe._native`: the parts of the SDK that the Python package needs and can't write in
//! Python. The public face, its documentation and the exceptions are in `python/ready_probe`.
//!
//! | file | owns |
//! |---|---|
//! | `life.rs` | calls without the GIL, and their end with the interpreter's |
//! | `agent.rs`, `announced.rs`, `mark.rs` | the SDK's agents, and its one-line functions |
//! | `working.rs` | calls that are under way, and the contexts that they belong to |
//! | `details.rs`, `duration.rs`, `text.rs`, `error.rs` | Python's values and exceptions |
//! | `log.rs` | what the SDK logs, on its way to Python's `logging` |

mod agent;
mod announced;
mod details;
mod duration;
mod error;
mod life;
mod log;
mod mark;
mod text;
mod working;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use ready_probe_sdk::use_sdk;

/// What writes the records, as they say themselves.
const SDK: &str = concat!("python/", env!("CARGO_PKG_VERSION"));

/// The interpreter that owns the module: the address of its `sys`, which each has one of, for life.
static INTERPRETER: AtomicUsize = AtomicUsize::new(0);

/// The module holds no state of its own that the GIL would have to guard, so free-threaded
/// interpreters keep it off.
#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    refuse_another_interpreter(module.py())?;
    log::collect();
    use_sdk(SDK).map_err(|e| error::to_py(module.py(), &e))?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<agent::Agent>()?;
    module.add_class::<announced::Announced>()?;
    module.add_class::<working::Working>()?;
    module.add_function(wrap_pyfunction!(agent::find_agent, module)?)?;
    module.add_function(wrap_pyfunction!(mark::mark_agent_ready, module)?)?;
    module.add_function(wrap_pyfunction!(mark::mark_agent_not_ready, module)?)?;
    module.add_function(wrap_pyfunction!(duration::seconds, module)?)?;
    module.add_function(wrap_pyfunction!(life::end, module)?)?;
    module.add_function(wrap_pyfunction!(log::next_logs, module)?)?;
    module.add_function(wrap_pyfunction!(log::wake_logs, module)?)?;
    Ok(())
}

/// Exit hooks, agents and the log belong to the process. A second interpreter that ends would end
/// them for the first one. Before 3.12 the interpreter does not ask a module whether it allows one.
fn refuse_another_interpreter(py: Python<'_>) -> PyResult<()> {
    let own = py.import("sys")?.as_ptr() as usize;
    match INTERPRETER.compare_exchange(0, own, SeqCst, SeqCst) {
        Err(known) if known != own => Err(PyImportError::new_err(
            "ready_probe does not support subinterpreters: import it in one interpreter of a \
             process only",
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}
