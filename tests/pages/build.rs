//! Makes doc tests of the Rust on a page, which readers see without what a test needs around it: a folder of
//! signals of its own, and a result.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what can't be read or is not understood fails the build"
)]

use std::path::Path;
use std::{env, fs};

const PAGE: &str = "../../docs/rust.md";

const BEFORE: &str = "# let signals_of_this_test = tempfile::tempdir()?;\n\
    # ready_probe_sdk::use_dir(signals_of_this_test.path())?;\n";
const AFTER: &str = "# Ok::<(), Box<dyn std::error::Error>>(())\n";

fn main() {
    println!("cargo::rerun-if-changed={PAGE}");
    println!("cargo::rerun-if-changed=build.rs");
    let page = fs::read_to_string(PAGE).unwrap_or_else(|e| panic!("{PAGE}: {e}"));
    let made = Path::new(&env::var("OUT_DIR").unwrap()).join("rust.md");
    fs::write(made, testable(&page)).unwrap();
}

/// The page with [`BEFORE`] and [`AFTER`] in each block that is run. Whole programs are compiled as they are.
fn testable(page: &str) -> String {
    let mut is_run = false;
    let lines = page.lines().map(|line| match line {
        "```rust" => {
            is_run = true;
            format!("{line}\n{BEFORE}")
        }
        "```" if is_run => {
            is_run = false;
            format!("{AFTER}{line}\n")
        }
        line => format!("{line}\n"),
    });
    lines.collect()
}
