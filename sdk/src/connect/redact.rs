//! Keeping secrets out of what is printed.
//!
//! Our own texts are built without secrets. What comes from elsewhere (a server's message, a
//! command's output) is quoted through [`Secrets::quote`].

use super::address::HIDDEN;
use crate::signal::clean;

/// Every secret that is known, such as those that the settings hold.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Remembers a secret.
    pub fn add(&mut self, secret: &str) {
        if !secret.is_empty() && !self.0.iter().any(|known| known == secret) {
            self.0.push(secret.to_owned());
            // The longest first: a secret may be a part of another one.
            self.0.sort_by_key(|known| std::cmp::Reverse(known.len()));
        }
    }

    /// Quotes what somebody else said: without our secrets, without the userinfo and query of any
    /// address, on one line, at most `max` characters.
    pub fn quote(&self, text: &str, max: usize) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.as_str(), HIDDEN);
        }
        self.hide_begun(&mut text);
        let words: Vec<String> = text.split_whitespace().map(hide_userinfo).collect();
        clean(&words.join(" "), max)
    }
}

impl Secrets {
    /// A text that was cut before it came here may end in the beginning of a secret.
    fn hide_begun(&self, text: &mut String) {
        let Some(cut) = text.strip_suffix('…') else {
            return;
        };
        let begun = self.0.iter().filter_map(|secret| {
            let parts = secret.char_indices().rev().map(|(end, _)| &secret[..end]);
            let mut parts = parts.filter(|part| !part.is_empty());
            parts.find(|part| cut.ends_with(part)).map(str::len)
        });
        if let Some(length) = begun.max() {
            let kept = cut.len() - length;
            text.replace_range(kept.., HIDDEN);
        }
    }
}

/// `redis://user:pass@host/?token=x` → `redis://***@host/?***`, wherever in a word it stands.
fn hide_userinfo(word: &str) -> String {
    let Some((before, after)) = word.split_once("://") else {
        return word.to_owned();
    };
    let end = after
        .find(['/', '?', '#', '"', '\''])
        .unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    let rest = match rest.split_once('?') {
        Some((path, _)) => format!("{path}?{HIDDEN}"),
        None => hide_userinfo(rest),
    };
    format!("{before}://{authority}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_userinfo_never_pass() {
        let mut secrets = Secrets::default();
        secrets.add("hunter2");
        secrets.add("hunter2-long");
        assert_eq!(
            secrets.quote(
                "WRONGPASS hunter2-long for\r\nredis://u:p@h/0 is hunter2",
                200
            ),
            "WRONGPASS *** for redis://***@h/0 is ***"
        );
        assert_eq!(
            secrets.quote("see http://h/p?token=abc,next", 99),
            "see http://h/p?***"
        );
    }

    #[test]
    fn the_beginning_of_a_secret_at_a_cut_does_not_pass() {
        let mut secrets = Secrets::default();
        secrets.add("hünter2-long");
        for (cut, want) in [
            ("for hünter2-lon…", "for ***"),
            ("for hü…", "for ***"),
            ("for hunter2…", "for hunter2…"),
            ("for hünter2-lon", "for hünter2-lon"),
        ] {
            assert_eq!(secrets.quote(cut, 99), want);
        }
    }

    #[test]
    fn control_characters_and_length_are_bounded() {
        let secrets = Secrets::default();
        assert_eq!(secrets.quote("a\u{1b}[31mred\u{7}", 20), "a [31mred ");
        assert_eq!(secrets.quote("aaaaaaaa", 4), "aaa…");
    }
}
