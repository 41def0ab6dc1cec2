//! The forms that one character may take in a text that quotes or encodes it: percent-encoded,
//! escaped as in JSON, a shell, C, Rust or Python, an HTML entity. A secret is looked for character
//! by character, so it does not matter which of them were encoded, and how. Base64 is different: it
//! has no characters to look for, and is looked for as a text of its own.

use data_encoding::BASE64;

/// Shorter secrets are not looked for in base64: they would turn up by coincidence.
const MIN_BASE64_BYTES: usize = 4;
/// How many bytes at the end of a text may be closing quotes and half a form.
const MAX_TAIL_BYTES: usize = 40;
/// How many backslashes one character may have before it: three levels of quoting.
const MAX_BACKSLASHES: usize = 8;
/// How many times a `%` may have been encoded again.
const MAX_ENCODINGS: usize = 4;
/// How many ways to read the blanks in one place are followed.
const MAX_BLANKS: usize = 256;

/// Where a text holds a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hidden {
    /// Behind its last byte.
    pub(super) end: usize,
    /// It is only the beginning of a secret, at the end of the text.
    pub(super) begun: bool,
}

/// What to look for.
#[derive(Debug, Clone, Default)]
pub(super) struct Pattern {
    pub(super) chars: Vec<char>,
    /// It may be broken into lines anywhere, as base64 is.
    pub(super) wraps: bool,
}

/// The characters of a text to look for. Blanks around it are no part of a secret, and their number
/// in one place changes with every quotation.
pub(super) fn pattern(text: &str) -> Vec<char> {
    let words: Vec<&str> = text.split(is_blank).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().collect()
}

/// Finds the pattern at `start`: all of it, or at least `min_begun` characters if the text ends
/// there. A shorter pattern is found as a whole or not at all.
pub(super) fn find(
    text: &str,
    start: usize,
    pattern: &Pattern,
    min_begun: usize,
) -> Option<Hidden> {
    let Pattern {
        chars: pattern,
        wraps,
    } = pattern;
    // Most of a text begins no form of the first character.
    let first = text.get(start..)?.chars().next()?;
    if pattern.first() != Some(&first) && !"%\\&'".contains(first) {
        return None;
    }
    let mut ends = vec![start];
    let mut begun = None;
    for (matched, c) in pattern.iter().enumerate() {
        if matched >= min_begun
            && let Some(end) = ends.iter().filter_map(|end| tail(text, *end)).max()
        {
            begun = Some(Hidden { end, begun: true });
        }
        if *wraps && matched > 0 {
            let behind = |at: &usize| {
                let rest = text.get(*at..).unwrap_or_default();
                text.len() - rest.trim_start_matches(['\r', '\n']).len()
            };
            ends.extend(ends.iter().map(behind).collect::<Vec<_>>());
        }
        let mut next = Vec::new();
        for at in &ends {
            step(text, *at, *c, &mut next);
        }
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            return begun;
        }
        ends = next;
    }
    let end = ends.into_iter().max()?;
    Some(Hidden { end, begun: false })
}

/// Where half a form ends that the text breaks off with at `at`, if only closing quotes follow.
fn tail(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    if rest.len() > MAX_TAIL_BYTES {
        return None;
    }
    let is_closing = |c: char| c.is_whitespace() || "'\"`)]}>.,;:".contains(c);
    let broken = rest.trim_end_matches(is_closing);
    let is_form = |c: char| c.is_ascii_hexdigit() || "%\\&#xuU{".contains(c);
    let is_half = broken.is_empty()
        || broken.chars().all(|c| c == char::REPLACEMENT_CHARACTER)
        || broken.starts_with(['%', '\\', '&']) && broken.chars().all(is_form);
    is_half.then_some(at + broken.len())
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Adds the end of each form of `c` at `at`.
fn step(text: &str, at: usize, c: char, ends: &mut Vec<usize>) {
    if c != ' ' {
        forms(text, at, c, ends);
        return;
    }
    // One blank or more, in any form of any of them.
    let mut from = vec![at];
    while let Some(at) = from.pop() {
        let rest = text.get(at..).unwrap_or_default();
        let mut found = Vec::new();
        if rest.starts_with(['%', '\\', '&']) {
            for blank in [' ', '\n', '\r', '\t'] {
                forms(text, at, blank, &mut found);
            }
        } else if rest.starts_with('+') {
            found.push(at + 1);
        } else if rest.starts_with(is_blank) {
            found.push(text.len() - rest.trim_start_matches(is_blank).len());
        }
        found.retain(|end| !ends.contains(end));
        ends.extend(&found);
        if ends.len() < MAX_BLANKS {
            from.extend(&found);
        }
    }
}

fn forms(text: &str, at: usize, c: char, ends: &mut Vec<usize>) {
    let Some(rest) = text.get(at..) else {
        return;
    };
    if rest.starts_with(c) {
        ends.push(at + c.len_utf8());
    }
    let mut bytes = [0; 4];
    let bytes = c.encode_utf8(&mut bytes).as_bytes();
    match rest.as_bytes().first() {
        Some(b'%') => coded_bytes(text, at, bytes, ends),
        Some(b'\\') => {
            let (slashes, unescaped) = backslashes(rest).unwrap_or_default();
            if c == '\\' {
                ends.extend((1..=slashes).map(|count| at + count));
            }
            // A longer run quotes nothing.
            if !unescaped.starts_with('\\') {
                coded_bytes(text, at, bytes, ends);
                escaped(text, at, c, ends);
            }
        }
        Some(b'&') => ends.extend(entity(rest, c).map(|length| at + length)),
        // How a single-quoted text of a shell holds one.
        Some(b'\'') if c == '\'' => {
            let ways = ["'\\''", "'\"'\"'"];
            let found = ways.iter().filter(|way| rest.starts_with(**way));
            ends.extend(found.map(|way| at + way.len()));
        }
        Some(_) | None => {}
    }
}

/// Each byte as `%2F`, also where the `%` is encoded again, `\x2f` or `\057`.
fn coded_bytes(text: &str, at: usize, bytes: &[u8], ends: &mut Vec<usize>) {
    let mut from = vec![at];
    for byte in bytes {
        let mut next = Vec::new();
        for at in from {
            let rest = text.get(at..).unwrap_or_default();
            if let Some(mut digits) = rest.strip_prefix('%') {
                for _ in 0..MAX_ENCODINGS {
                    if number(digits, 2, 16) == Some(u32::from(*byte)) {
                        next.push(text.len() - digits.len() + 2);
                    }
                    match digits.strip_prefix("25") {
                        Some(more) => digits = more,
                        None => break,
                    }
                }
            }
            let Some((slashes, unescaped)) = backslashes(rest) else {
                continue;
            };
            let here = at + slashes;
            let hex = unescaped.strip_prefix('x').unwrap_or_default();
            if number(hex, 2, 16) == Some(u32::from(*byte)) {
                next.push(here + 3);
            }
            if number(unescaped, 3, 8) == Some(u32::from(*byte)) {
                next.push(here + 3);
            }
        }
        from = next;
    }
    ends.extend(from);
}

/// `\"`, `\n`, `\xfc`, `\u00fc`, `\U000000fc`, `\u{fc}`, `\x{fc}`, behind any number of backslashes: what was quoted
/// is quoted again.
fn escaped(text: &str, at: usize, c: char, ends: &mut Vec<usize>) {
    let Some((slashes, unescaped)) = backslashes(text.get(at..).unwrap_or_default()) else {
        return;
    };
    let here = at + slashes;
    let letter = match c {
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        c if c.is_alphanumeric() => None,
        c => Some(c),
    };
    if let Some(letter) = letter.filter(|letter| unescaped.starts_with(*letter)) {
        ends.push(here + letter.len_utf8());
    }
    // Python's, of a character; [`coded_bytes`] knows the ones of bytes.
    if let Some(digits) = unescaped.strip_prefix('x')
        && number(digits, 2, 16) == Some(u32::from(c))
    {
        ends.push(here + 3);
    }
    if let Some(digits) = unescaped.strip_prefix('U')
        && number(digits, 8, 16) == Some(u32::from(c))
    {
        ends.push(here + 9);
    }
    let in_braces = ["u{", "x{"].iter().find_map(|p| unescaped.strip_prefix(p));
    if let Some(digits) = in_braces {
        let length = digits.find('}').unwrap_or_default();
        if length > 0 && number(digits, length, 16) == Some(u32::from(c)) {
            ends.push(here + "u{}".len() + length);
        }
    }
    ends.extend(utf16(text, at, c));
}

/// `\u00fc`, and `\ud83d\ude00` for what takes two.
fn utf16(text: &str, at: usize, c: char) -> Option<usize> {
    let mut units = [0; 2];
    let mut rest = text.get(at..)?;
    for unit in c.encode_utf16(&mut units) {
        let (_, unescaped) = backslashes(rest)?;
        let digits = unescaped.strip_prefix('u')?;
        if number(digits, 4, 16) != Some(u32::from(*unit)) {
            return None;
        }
        rest = digits.get(4..)?;
    }
    Some(text.len() - rest.len())
}

/// The length of the HTML entity that `rest` begins with, if it is that of `c`.
fn entity(rest: &str, c: char) -> Option<usize> {
    let (name, _) = rest.strip_prefix('&')?.split_once(';')?;
    let is_it = match (name, name.strip_prefix('#')) {
        ("amp", _) => c == '&',
        ("lt", _) => c == '<',
        ("gt", _) => c == '>',
        ("quot", _) => c == '"',
        ("apos", _) => c == '\'',
        (_, Some(number)) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            code == Ok(u32::from(c))
        }
        (_, None) => false,
    };
    is_it.then_some(name.len() + 2)
}

/// How many backslashes `rest` begins with, and what follows them.
fn backslashes(rest: &str) -> Option<(usize, &str)> {
    let bytes = rest.bytes().take(MAX_BACKSLASHES);
    let count = bytes.take_while(|byte| *byte == b'\\').count();
    (count > 0).then(|| (count, rest.get(count..).unwrap_or_default()))
}

/// The number in the first `length` characters.
fn number(text: &str, length: usize, radix: u32) -> Option<u32> {
    let digits = text.get(..length)?;
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

/// The part that is the same in every base64 text that holds `secret`, wherever it begins there:
/// each character is six bits, so its surroundings change only the first and the last one.
pub(super) fn in_base64(secret: &str) -> Vec<String> {
    if secret.len() < MIN_BASE64_BYTES {
        return Vec::new();
    }
    let mut texts = Vec::new();
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        let first = (before * 8).div_ceil(6);
        let end = bytes.len() * 8 / 6;
        let coded = BASE64.encode(&bytes);
        let core = coded.get(first..end).unwrap_or_default().to_owned();
        let url = core.replace('+', "-").replace('/', "_");
        if url != core {
            texts.push(url);
        }
        texts.push(core);
    }
    texts
}
