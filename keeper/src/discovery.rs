//! Which containers have the labels that the settings name: asked at the start, and again and again.

use crate::children::{self, LIST};
use crate::engine::{Labelled, Listed, PATIENCE, Use};

/// Looks in a child.
pub fn look(wanted: &Use) -> Listed {
    // For the connection, the ping and each label.
    let questions = u32::try_from(wanted.labels.len()).unwrap_or(u32::MAX);
    let limit = PATIENCE.saturating_mul(questions.saturating_add(3));
    let listed = serde_json::to_vec(wanted)
        .map_err(|e| e.to_string())
        .and_then(|text| children::talk(LIST, text, limit))
        .and_then(|said| {
            serde_json::from_slice(&said).map_err(|e| format!("its child said something else: {e}"))
        });
    listed.unwrap_or_else(Listed::Trouble)
}

/// What is known of them.
#[derive(Debug, Default)]
pub struct Discovery {
    wanted: Option<Use>,
    /// The containers that were there last.
    pub labelled: Labelled,
    asked_ms: u64,
    is_asked: bool,
    trouble: Option<String>,
}

impl Discovery {
    /// As it is at the start.
    pub fn new(
        wanted: Option<Use>,
        labelled: Labelled,
        trouble: Option<String>,
        now_ms: u64,
    ) -> Self {
        Self {
            wanted,
            labelled,
            trouble,
            asked_ms: now_ms,
            ..Self::default()
        }
    }

    /// The settings want this from now on. What is not known yet is asked at once.
    pub fn want(&mut self, wanted: Option<Use>) {
        if self.wanted != wanted {
            self.wanted = wanted;
            self.asked_ms = 0;
            // Of another engine, or of none.
            self.trouble = None;
        }
    }

    /// Why nobody knows which containers there are, if nobody does.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What is to be asked now, and by nobody else.
    pub fn due(&mut self, now_ms: u64) -> Option<Use> {
        let wanted = self
            .wanted
            .as_ref()
            .filter(|wanted| !wanted.labels.is_empty())?;
        if self.is_asked || now_ms < self.asked_ms.saturating_add(wanted.every_ms) {
            return None;
        }
        (self.is_asked, self.asked_ms) = (true, now_ms);
        Some(wanted.clone())
    }

    /// Takes an answer in. Returns whether other containers are there now; the error is to be said. Where nobody knows, those
    /// that were there are looked after.
    pub fn hear(&mut self, listed: Listed) -> Result<bool, String> {
        self.is_asked = false;
        let why = match listed {
            Listed::Found(labelled) => {
                self.trouble = None;
                let is_new = self.labelled != labelled;
                self.labelled = labelled;
                return Ok(is_new);
            }
            Listed::Trouble(why) | Listed::Nobody(why) => why,
        };
        let is_known = self.trouble.as_ref() == Some(&why);
        self.trouble = Some(why.clone());
        match is_known {
            true => Ok(false),
            false => Err(why),
        }
    }
}
