//! What `--verbose` says on stderr: a line an event. tracing's own formatter would be a hundredth of the binary.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The most that is said.
const MOST: LevelFilter = LevelFilter::DEBUG;

/// From now on, whatever this process traces is said.
pub fn begin() {
    // There is one already: it says as much.
    let _ = tracing::subscriber::set_global_default(Stderr);
}

/// Knows events alone: nothing here opens a span.
struct Stderr;

impl Subscriber for Stderr {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        of.is_event() && *of.level() <= MOST
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(MOST)
    }

    fn event(&self, event: &Event<'_>) {
        let of = event.metadata();
        let mut line = Line(format!("{:>5} {}:", of.level().as_str(), of.target()));
        event.record(&mut line);
        line.0.push('\n');
        // A probe answers on stdout, also if nobody takes this.
        let _ = std::io::stderr().lock().write_all(line.0.as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// `DEBUG ready_probe::check: the message field=value`
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
