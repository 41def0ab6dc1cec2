//! Tables of TOML, with the line at which each key stands. Every error names it; a key that is not known is one.

use std::time::Duration;

use ready_probe::duration::duration;
use ready_probe::redact::shown;
use ready_probe_sdk::clock;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::services::Places;

/// A table.
#[derive(Clone)]
pub struct Table<'a> {
    text: &'a str,
    /// Which one it is.
    place: String,
    map: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// One of a text.
    pub fn new(text: &'a str, place: &str, map: &'a DeTable<'a>) -> Self {
        Self {
            text,
            place: place.to_owned(),
            map,
        }
    }

    /// The same by another name.
    pub fn called(self, place: String) -> Self {
        Self { place, ..self }
    }

    /// An error at a key, or of the whole table where the key is not there.
    pub fn wrong(&self, key: &str, why: &str) -> String {
        let at = self.map.iter().find(|(is, _)| is.get_ref().as_ref() == key);
        let at = at.map(|(is, _)| is.span().start);
        // Not the header's line, but that of the first key: the header's is not told.
        let first = || self.map.iter().map(|(is, _)| is.span().start).min();
        self.at(at.or_else(first), &format!("{key}: {why}"))
    }

    fn at(&self, byte: Option<usize>, why: &str) -> String {
        let why = match self.place.as_str() {
            "" => why.to_owned(),
            place => format!("{place}: {why}"),
        };
        match byte {
            Some(byte) => format!("line {}: {why}", line(self.text, byte)),
            None => why,
        }
    }

    /// Where its keys stand.
    pub fn places(&self) -> Places {
        let place =
            |key: &Spanned<DeString<'_>>| format!("line {}", line(self.text, key.span().start));
        let keys = self.map.keys();
        keys.map(|key| (key.get_ref().to_string(), place(key)))
            .collect()
    }

    /// The tables in this one, by their names.
    pub fn named(&self) -> Result<Vec<(String, Table<'a>)>, String> {
        let names = self.map.keys().map(|key| key.get_ref().to_string());
        let table = |name: String| Ok(self.table(&name)?.map(|table| (name, table)));
        names.filter_map(|name| table(name).transpose()).collect()
    }

    /// Refuses keys that mean nothing.
    pub fn only(&self, known: &[&str]) -> Result<(), String> {
        let unknown = self
            .map
            .iter()
            .filter(|(key, _)| !known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown
            .map(|(key, _)| key)
            .min_by_key(|key| key.span().start)
        else {
            return Ok(());
        };
        let hint = match nearest(key.get_ref(), known) {
            Some(near) => format!("is {near} meant?"),
            None => format!("there are {}", known.join(", ")),
        };
        let why = format!("there is no key {}: {hint}", shown(key.get_ref()));
        Err(self.at(Some(key.span().start), &why))
    }

    fn value(&self, key: &str) -> Option<&'a DeValue<'a>> {
        self.map.get(key).map(Spanned::get_ref)
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// A text that is not empty.
    pub fn text(&self, key: &str) -> Result<Option<String>, String> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(text) if !text.trim().is_empty() => Ok(Some(text.to_owned())),
            Some(_) | None => Err(self.wrong(key, "a text that is not empty is expected")),
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        let flag = |value: &DeValue<'_>| {
            value
                .as_bool()
                .ok_or_else(|| self.wrong(key, "true or false is expected"))
        };
        self.value(key).map(flag).transpose()
    }

    /// Texts, of which one may stand alone.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let wrong = || self.wrong(key, "a list of texts is expected, [\"…\"]");
        let text = |value: &DeValue<'_>| {
            let text = value.as_str().filter(|text| !text.trim().is_empty());
            text.map(str::to_owned).ok_or_else(wrong)
        };
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(DeValue::Array(all)) => all.iter().map(|one| text(one.get_ref())).collect(),
            Some(one) => Ok(vec![text(one)?]),
        }
    }

    /// A time with its unit, in milliseconds.
    pub fn millis(&self, key: &str, least: Duration) -> Result<Option<u64>, String> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let text = value
            .as_str()
            .ok_or_else(|| self.wrong(key, "a time is expected, as \"30s\""))?;
        let parsed = duration(text).map_err(|e| self.wrong(key, &e))?;
        if parsed < least {
            let least = ready_probe_sdk::freshness::Span(clock::millis(least));
            return Err(self.wrong(key, &format!("it is at least {least}")));
        }
        Ok(Some(clock::millis(parsed)))
    }

    /// A whole number from 1 on.
    pub fn number(&self, key: &str, most: u32) -> Result<Option<u32>, String> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let number = value.as_integer().filter(|number| number.radix() == 10);
        let number = number.and_then(|number| number.as_str().parse().ok());
        number
            .filter(|number| (1..=most).contains(number))
            .map(Some)
            .ok_or_else(|| self.wrong(key, &format!("a number from 1 to {most} is expected")))
    }

    /// A table in this one.
    pub fn table(&self, key: &str) -> Result<Option<Table<'a>>, String> {
        let place = match self.place.as_str() {
            "" => format!("[{key}]"),
            place => format!("{place}: {key}"),
        };
        match self.value(key) {
            None => Ok(None),
            Some(DeValue::Table(map)) => Ok(Some(Table::new(self.text, &place, map))),
            Some(_) => Err(self.wrong(key, "a table is expected")),
        }
    }

    /// Tables in this one, each written `[[key]]`.
    pub fn tables(&self, key: &str) -> Result<Vec<Table<'a>>, String> {
        let wrong = || self.wrong(key, &format!("each is written [[{key}]]"));
        let all = match self.value(key) {
            None => return Ok(Vec::new()),
            Some(DeValue::Array(all)) => all,
            Some(_) => return Err(wrong()),
        };
        let table = |(nth, one): (usize, &'a Spanned<DeValue<'a>>)| match one.get_ref() {
            DeValue::Table(map) => {
                let place = format!("[[{key}]] {}", nth + 1);
                Ok(Table::new(self.text, &place, map))
            }
            _ => Err(wrong()),
        };
        all.iter().enumerate().map(table).collect()
    }
}

/// The number of a line, counted from 1.
pub fn line(text: &str, byte: usize) -> usize {
    let before = text.get(..byte).unwrap_or_default();
    before.matches('\n').count() + 1
}

/// What may have been meant.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let far = |known: &&&str| distance(word, known);
    let near = known.iter().min_by_key(far)?;
    // Half of a word is another word.
    (distance(word, near) <= near.len().min(word.len()) / 2).then_some(near)
}

/// How many letters are to be put in, taken out or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut last = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (b, &up) in other.iter().zip(row.iter().skip(1)) {
            left = (last + usize::from(a != *b)).min(up + 1).min(left + 1);
            next.push(left);
            last = up;
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_nearly_right_is_recognised() {
        let known = [
            "restart",
            "restart_on",
            "startup",
            "startup_delay",
            "attempts",
        ];
        for (word, want) in [
            ("restat", Some("restart")),
            ("restartt", Some("restart")),
            ("startup-delay", Some("startup_delay")),
            ("attempt", Some("attempts")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, &known), want, "{word}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
