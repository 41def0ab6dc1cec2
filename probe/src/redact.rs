//! Keeping secrets out of what is printed.

pub use ready_probe_sdk::connect::address::HIDDEN;
pub use ready_probe_sdk::connect::redact::{Secrets, shown};

/// A message of our own, on one line, at most `max` characters long. It may quote an address in the
/// wrong place, password and all, or invisible characters.
pub fn one_line(message: &str, max: usize) -> String {
    let mut line = String::new();
    for c in message.chars() {
        match c {
            '\n' | '\t' => line.push(' '),
            // As `{:?}` does, but for quotes and backslashes, which are seen.
            '"' | '\'' | '\\' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
    }
    Secrets::default().quote(&line, max)
}
