//! The blocks of code in this repository's documents, for tests that run them.

use std::fs;

use crate::process::workspace_root;

/// One block of code.
#[derive(Debug, Clone)]
pub struct Block {
    /// The heading above it, whatever its level.
    pub heading: String,
    /// What follows its fence: `sh`, `yaml`, …
    pub language: String,
    /// Its lines.
    pub text: String,
}

impl Block {
    /// Its text with some of its words replaced by others, each of which must be there.
    ///
    /// # Panics
    /// When one is not.
    #[must_use]
    #[track_caller]
    pub fn with(&self, replaced: &[(&str, &str)]) -> String {
        replaced.iter().fold(self.text.clone(), |text, (from, to)| {
            assert!(text.contains(from), "no {from:?} in\n{text}");
            text.replace(from, to)
        })
    }

    /// What is typed in a `console`: the lines behind a `$` or a `#`, without what is printed.
    pub fn typed(&self) -> Vec<&str> {
        let lines = self.text.lines();
        lines
            .filter_map(|line| line.strip_prefix("$ ").or(line.strip_prefix("# ")))
            .collect()
    }
}

/// The blocks of a document, such as `docs/install.md`, in their order.
///
/// # Panics
/// When there is no such document.
#[track_caller]
pub fn blocks(page: &str) -> Vec<Block> {
    let text =
        fs::read_to_string(workspace_root().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
    let (mut heading, mut blocks) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            line.trim_start_matches('#').trim().clone_into(&mut heading);
        } else if let Some(language) = line.strip_prefix("```") {
            let block = lines.by_ref().take_while(|line| *line != "```");
            blocks.push(Block {
                heading: heading.clone(),
                language: language.to_owned(),
                text: block.map(|line| format!("{line}\n")).collect(),
            });
        }
    }
    blocks
}

/// The `nth` block of that language below `heading`.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn block(page: &str, heading: &str, language: &str, nth: usize) -> Block {
    let mut found = blocks(page)
        .into_iter()
        .filter(|block| block.heading == heading && block.language == language);
    found
        .nth(nth)
        .unwrap_or_else(|| panic!("{page} has no {language} number {nth} below {heading:?}"))
}
