//! The Rust of `docs/rust.md` as doc tests; `build.rs` makes them. `tests/rust.rs` holds what else the page says
//! to the code.

#[cfg(doctest)]
#[doc = include_str!(concat!(env!("OUT_DIR"), "/rust.md"))]
pub struct RustPage;
