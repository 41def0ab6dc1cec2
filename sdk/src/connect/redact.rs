//! Keeping secrets out of what is printed.
//!
//! Our own texts are built without secrets. What comes from elsewhere (a server's message, a
//! command's output) is quoted through [`Secrets::quote`], the one place that knows in which forms
//! a secret comes back.

mod foreign;
mod form;

use super::address::HIDDEN;
use crate::signal::clean;

/// What marks a text as cut.
const CUT: char = '…';
/// So many characters of a secret at the end of a text are a cut secret, not a coincidence.
const MIN_BEGUN_CHARS: usize = 4;
/// No more of a text is looked at: only a few hundred characters are quoted.
const MAX_BYTES: usize = 8 * 1024;
/// How much of a value is shown; the rest of the line is for what is wrong with it.
const MAX_SHOWN_CHARS: usize = 60;

/// Every known secret, such as those in the settings.
#[derive(Clone, Default)]
pub struct Secrets {
    known: Vec<String>,
    /// The secrets and their base64, as sequences of characters that may each be encoded.
    patterns: Vec<form::Pattern>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.known.len())
    }
}

/// A value that somebody set, quoted, with invisible characters escaped.
#[must_use]
pub fn shown(value: &str) -> String {
    let value = Secrets::default().hide(value);
    let mut shown: String = value.chars().take(MAX_SHOWN_CHARS).collect();
    if value.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    format!("{shown:?}")
}

impl Secrets {
    /// Remembers a secret.
    pub fn add(&mut self, secret: &str) {
        if self.known.iter().any(|known| known == secret) {
            return;
        }
        self.known.push(secret.to_owned());
        let coded = form::in_base64(secret).into_iter().map(|text| (text, true));
        let texts = [(secret.to_owned(), false)].into_iter().chain(coded);
        let patterns = texts.map(|(text, wraps)| form::Pattern {
            chars: form::pattern(&text),
            wraps,
        });
        self.patterns
            .extend(patterns.filter(|pattern| !pattern.chars.is_empty()));
    }

    /// Quotes what somebody else said: without our secrets, whatever form they come back in,
    /// without the userinfo and query of any address, on one line, at most `max` characters. A text
    /// that ends in `…` was cut before it came here.
    pub fn quote(&self, text: &str, max: usize) -> String {
        let mut ends = (0..=MAX_BYTES).rev();
        let text = match ends.find_map(|end| text.get(..end)) {
            Some(beginning) if text.len() > MAX_BYTES => self.hide(&format!("{beginning}{CUT}")),
            Some(_) | None => self.hide(text),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        clean(&words.join(" "), max)
    }

    /// The same text, otherwise unchanged.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        foreign::hide(&self.hide_known(text))
    }

    fn hide_known(&self, text: &str) -> String {
        if self.patterns.is_empty() {
            return text.to_owned();
        }
        let (body, min_begun) = match text.strip_suffix(CUT) {
            Some(body) => (body, 1),
            None => (text, MIN_BEGUN_CHARS),
        };
        let mut shown = String::new();
        let mut shown_to = 0;
        let mut hidden: Option<form::Hidden> = None;
        for (start, _) in body.char_indices() {
            let spans = self.patterns.iter();
            let found = spans.filter_map(|pattern| form::find(body, start, pattern, min_begun));
            let Some(span) = found.max_by_key(|span| (span.end, span.begun)) else {
                continue;
            };
            match &mut hidden {
                // Two secrets may overlap: no part of either is shown.
                Some(last) if start < last.end => {
                    if span.end > last.end {
                        *last = span;
                    }
                }
                Some(_) | None => {
                    if let Some(last) = hidden.replace(span) {
                        shown_to = last.end;
                    }
                    shown.push_str(body.get(shown_to..start).unwrap_or_default());
                    shown.push_str(HIDDEN);
                }
            }
        }
        let begun = hidden.as_ref().is_some_and(|last| last.begun);
        if let Some(last) = hidden {
            shown_to = last.end;
        }
        let rest = body.get(shown_to..).unwrap_or_default();
        shown.push_str(rest);
        if body.len() < text.len() && !(begun && rest.is_empty()) {
            shown.push(CUT);
        }
        shown
    }
}

#[cfg(test)]
mod tests;
