//! Keeping secrets out of what is printed.

pub use ready_probe_sdk::connect::address::HIDDEN;
pub use ready_probe_sdk::connect::redact::Secrets;

/// How much of a value is shown, so that a long one leaves room for what is wrong with it.
const MAX_SHOWN_CHARS: usize = 60;

/// A value that somebody set, in quotes.
pub fn shown(value: &str) -> String {
    format!("{:?}", Secrets::default().quote(value, MAX_SHOWN_CHARS))
}
