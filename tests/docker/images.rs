//! What readers build images of. Building takes minutes of a processor, so these tests run beside all others from the
//! start.
//!
//! | module | asks |
//! |---|---|
//! | [`packaging`] | is what `Dockerfile.probe` builds the probe? |
//! | [`install`] | does every way into an image that `docs/install.md` names end in a health check? |
//! | [`compose`] | do the fleets of `examples/` come up in order? |
//! | [`python`] | do the agents of `examples/python` do in containers what they say? |
//! | [`old_glibc`] | does the wheel run on the glibc of Debian 11? |
//! | [`recipes_python`] | do the recipes for Celery and frozen programs do what they are for? |

mod compose;
mod install;
mod old_glibc;
mod packaging;
mod python;
mod recipes_python;
