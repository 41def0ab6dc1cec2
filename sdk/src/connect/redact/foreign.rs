//! Addresses and passwords in somebody else's text, whose secrets nobody has told us: whatever
//! could be one is hidden.

use super::CUT;
use crate::connect::address::HIDDEN;

/// What separates a scheme from an authority, plain and encoded, and how such a text writes the `@`
/// before a host.
const STARTS: [(&str, &str); 4] = [
    ("://", "@"),
    (r":\/\/", "@"),
    ("%3A%2F%2F", "%40"),
    ("%3a%2f%2f", "%40"),
];
/// The keys of connection strings that are followed by a secret: `host:6379,password=…`.
const SECRET_KEYS: [&str; 7] = [
    "password=",
    "passwd=",
    "passwort=",
    "pass=",
    "pwd=",
    "secret=",
    "token=",
];

/// Hides what may be a secret.
pub(super) fn hide(text: &str) -> String {
    hide_pairs(&hide_userinfo(text))
}

/// `redis://user:pass@host/?token=x` → `redis://***@host/?***`.
///
/// A password may hold anything, even a space and an `@`. So it ends at the last `@` before the
/// next address begins, although that may belong to something else.
fn hide_userinfo(text: &str) -> String {
    let mut shown = String::new();
    let mut left = text;
    while let Some((at, start, end)) = starts(left).next() {
        let (before, after) = left.split_at(at + start.len());
        let next = next_address(after).unwrap_or(after.len());
        let next = match after.split_at(next) {
            // What looks like the next address stands within the password of this one.
            (address, others) if !address.contains(end) && has_no_port(address) => {
                let last = others.rfind(end).map_or(0, |at| at + end.len());
                next + last
            }
            _ => next,
        };
        let (address, others) = after.split_at(next);
        let (userinfo, rest) = match address.rfind(end) {
            Some(at) => (HIDDEN, address.get(at..).unwrap_or_default()),
            // The text may have broken off before the `@`.
            None if next == after.len() && breaks_off(address) => (HIDDEN, ""),
            None => ("", address),
        };
        let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(word);
        shown.push_str(before);
        shown.push_str(userinfo);
        match word.split_once('?') {
            Some((path, _)) => shown.extend([path, "?", HIDDEN]),
            None => shown.push_str(word),
        }
        shown.push_str(rest);
        left = others;
    }
    shown + left
}

/// Whether something else than a port stands behind the first colon: a password, then.
fn has_no_port(address: &str) -> bool {
    let is_end = |c: char| c.is_whitespace() || "/?#".contains(c);
    let authority = address.split(is_end).next().unwrap_or_default();
    let port = match authority.split_once(':') {
        Some((host, port)) if !host.starts_with('[') => port,
        Some(_) | None => return false,
    };
    let port = port.trim_end_matches(|c: char| c.is_ascii_punctuation());
    !port.chars().all(|c| c.is_ascii_digit())
}

/// Whether it is one word up to where the text was cut, in which a password stands behind a colon.
fn breaks_off(address: &str) -> bool {
    let is_word = |kept: &&str| !kept.contains(char::is_whitespace);
    let kept = address.strip_suffix(CUT).filter(is_word);
    kept.is_some_and(|kept| kept.split(',').any(has_no_port))
}

/// Every start of an authority: where, what, and what ends its userinfo.
fn starts(text: &str) -> impl Iterator<Item = (usize, &'static str, &'static str)> {
    text.match_indices([':', '%']).filter_map(|(at, _)| {
        let rest = text.get(at..)?;
        let (start, end) = STARTS.iter().find(|(start, _)| rest.starts_with(start))?;
        Some((at, *start, *end))
    })
}

/// Where the scheme of the next address begins. Without a blank, quote or comma before it, it still
/// belongs to the last password.
fn next_address(text: &str) -> Option<usize> {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let is_outside = |c: char| c.is_whitespace() || "\"'`([{<,;|=".contains(c);
    starts(text).find_map(|(at, ..)| {
        let before = text.get(..at)?;
        let outside = before.trim_end_matches(is_scheme);
        (outside.len() < before.len() && outside.ends_with(is_outside)).then_some(outside.len())
    })
}

/// `host:6379,password=x,ssl=False` → `host:6379,password=***,ssl=False`.
fn hide_pairs(text: &str) -> String {
    let mut shown = String::new();
    let mut left = text;
    while let Some(at) = next_value(left) {
        let (before, value) = left.split_at(at);
        shown.push_str(before);
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let value = value.strip_prefix(['"', '\'']).unwrap_or(value);
        shown.extend(quote);
        let is_end = |c: char| match quote {
            Some(quote) => c == quote,
            None => c.is_whitespace() || ",;&\"')".contains(c),
        };
        let (hidden, rest) = value.split_at(value.find(is_end).unwrap_or(value.len()));
        if !hidden.is_empty() {
            shown.push_str(HIDDEN);
        }
        left = rest;
    }
    shown + left
}

/// Where the value of the first pair begins whose key names a secret.
fn next_value(text: &str) -> Option<usize> {
    text.match_indices('=').find_map(|(at, _)| {
        let before = text.get(..=at)?;
        let ends_with = |key: &&str| {
            let tail = before.len().checked_sub(key.len());
            tail.and_then(|from| before.get(from..))
                .is_some_and(|tail| tail.eq_ignore_ascii_case(key))
        };
        SECRET_KEYS.iter().any(ends_with).then_some(at + 1)
    })
}
