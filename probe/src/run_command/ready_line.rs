//! The text of `--ready-line`, looked for in output as it comes. No I/O.

/// What a line must hold: texts in this order, with anything between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As it was typed, for people.
    pub typed: String,
    parts: Vec<Part>,
}

/// One text, and for each of its beginnings the longest shorter one that it ends in: the table of Knuth,
/// Morris and Pratt, by which no byte of a line needs to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    text: Vec<u8>,
    back: Vec<usize>,
}

impl Pattern {
    /// Reads it: `*` stands for anything within the line, `\*` for itself.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut letters = typed.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '*' => parts.push(String::new()),
                '\n' => return Err("a line has no line end in it".to_owned()),
                '\\' if matches!(letters.peek(), Some('*' | '\\')) => {
                    push(&mut parts, letters.next());
                }
                letter => push(&mut parts, Some(letter)),
            }
        }
        parts.retain(|part| !part.is_empty());
        if parts.is_empty() {
            return Err("it needs some text to look for".to_owned());
        }
        Ok(Self {
            typed: typed.to_owned(),
            parts: parts.into_iter().map(Part::new).collect(),
        })
    }

    /// Looks for it in a stream from its beginning on.
    pub fn search(&self) -> Search {
        Search {
            parts: self.parts.clone(),
            part: 0,
            matched: 0,
        }
    }
}

fn push(parts: &mut [String], letter: Option<char>) {
    if let (Some(part), Some(letter)) = (parts.last_mut(), letter) {
        part.push(letter);
    }
}

impl Part {
    fn new(text: String) -> Self {
        let text = text.into_bytes();
        let mut back = vec![0; text.len()];
        for at in 1..text.len() {
            let mut matched = value(&back, at - 1);
            while matched > 0 && text.get(matched) != text.get(at) {
                matched = value(&back, matched - 1);
            }
            if text.get(matched) == text.get(at) {
                matched += 1;
            }
            if let Some(slot) = back.get_mut(at) {
                *slot = matched;
            }
        }
        Self { text, back }
    }
}

fn value(table: &[usize], at: usize) -> usize {
    table.get(at).copied().unwrap_or(0)
}

/// A pattern being looked for. Needs no more memory for a long line than for a short one.
#[derive(Debug, Clone)]
pub struct Search {
    parts: Vec<Part>,
    part: usize,
    matched: usize,
}

impl Search {
    /// Whether a line holds it, up to the end of this piece of the stream.
    pub fn feed(&mut self, piece: &[u8]) -> bool {
        piece.iter().any(|byte| self.take(*byte))
    }

    fn take(&mut self, byte: u8) -> bool {
        if byte == b'\n' {
            (self.part, self.matched) = (0, 0);
            return false;
        }
        let Some(part) = self.parts.get(self.part) else {
            return true;
        };
        while self.matched > 0 && part.text.get(self.matched) != Some(&byte) {
            self.matched = value(&part.back, self.matched - 1);
        }
        if part.text.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
        if self.matched == part.text.len() {
            (self.part, self.matched) = (self.part + 1, 0);
        }
        self.part == self.parts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(typed: &str, stream: &[u8], piece: usize) -> bool {
        let mut search = Pattern::parse(typed).unwrap().search();
        stream.chunks(piece).any(|piece| search.feed(piece))
    }

    #[test]
    fn a_line_holds_the_text_however_it_is_cut() {
        let table: [(&str, &str, bool); 16] = [
            ("ready", "ready\n", true),
            ("ready", "ready", true),
            ("ready", "now already here\n", true),
            ("ready", "rea\ndy\n", false),
            ("ready", "Ready\n", false),
            ("aab", "aaab\n", true),
            ("abab", "abaabab", true),
            ("abac", "ababac", true),
            ("port * open", "port 80 is open\n", true),
            ("port * open", "port 80\nis open\n", false),
            ("port*open*", "open port, open", true),
            ("port*open", "open port", false),
            ("*", "x", false),
            (r"5\*", "5*", true),
            (r"5\*", "55", false),
            (r"a\b", r"a\b", true),
        ];
        for (typed, stream, want) in table {
            if typed == "*" {
                assert!(Pattern::parse(typed).is_err());
                continue;
            }
            for piece in 1..=stream.len() {
                let found = finds(typed, stream.as_bytes(), piece);
                assert_eq!(found, want, "{typed:?} in {stream:?} by {piece}");
            }
        }
        assert!(Pattern::parse("").is_err());
        assert!(Pattern::parse("a\nb").is_err());
    }

    #[test]
    fn a_long_line_needs_no_memory() {
        let mut search = Pattern::parse("needle").unwrap().search();
        let hay = vec![b'n'; 64 * 1024];
        for _ in 0..64 {
            assert!(!search.feed(&hay));
        }
        assert!(search.feed(b"eedle"));
    }
}
