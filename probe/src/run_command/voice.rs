//! What `run` says itself, for people.

use std::collections::BTreeSet;
use std::io::Write;

/// What this command itself says, on stderr.
#[derive(Debug)]
pub struct Voice {
    name: String,
    quiet: bool,
    said: BTreeSet<String>,
}

impl Voice {
    /// A voice that speaks of this agent.
    pub fn new(name: &str, quiet: bool) -> Self {
        Self {
            name: name.to_owned(),
            quiet,
            said: BTreeSet::new(),
        }
    }

    /// Says it, unless it was said before. Numbers make no difference.
    pub fn say_once(&mut self, what: &str) {
        /// As many different things as one program can do wrong.
        const MAX_SAID: usize = 64;
        let timeless: String = what.chars().filter(|c| !c.is_ascii_digit()).collect();
        if self.quiet || self.said.len() >= MAX_SAID || !self.said.insert(timeless) {
            return;
        }
        // Nobody is left to be told when stderr is closed.
        let _ = writeln!(std::io::stderr(), "ready-probe: {}: {what}", self.name);
    }

    /// Says why something failed, if it has.
    pub fn complain(&mut self, done: Result<(), String>) {
        if let Err(why) = done {
            self.say_once(&why);
        }
    }
}
