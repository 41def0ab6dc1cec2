//! `ready_probe._native`: what the Python package needs of the SDK, and nothing that Python can say
//! as well. The public face, its documentation and the exceptions are in `python/ready_probe`.
//!
//! | file | owns |
//! |---|---|
//! | `life.rs` | calls without the GIL, and their end with the interpreter's |
//! | `agent.rs`, `mark.rs` | the SDK's agents, and its one-line functions |
//! | `details.rs`, `duration.rs`, `error.rs` | Python's values and exceptions |
//! | `log.rs` | what the SDK logs, on its way to Python's `logging` |

mod agent;
mod details;
mod duration;
mod error;
mod life;
mod log;
mod mark;

use pyo3::prelude::*;

/// The module holds no state of its own that the GIL would have to guard, so free-threaded
/// interpreters keep it off.
#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    log::collect();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<agent::Agent>()?;
    module.add_class::<agent::Announced>()?;
    module.add_function(wrap_pyfunction!(mark::mark_agent_ready, module)?)?;
    module.add_function(wrap_pyfunction!(mark::mark_agent_not_ready, module)?)?;
    module.add_function(wrap_pyfunction!(life::end, module)?)?;
    module.add_function(wrap_pyfunction!(log::next_logs, module)?)?;
    Ok(())
}
