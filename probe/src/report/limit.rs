//! How long a report may be, and what is left out of a longer one.
//!
//! Docker keeps 4096 bytes of a health check's output, Podman 500.

use super::Report;

/// The most that is ever printed.
pub const MAX_BYTES: usize = 4_096;
/// The most that one row of a report takes, so that many fit.
pub(super) const MAX_ROW_BYTES: usize = 400;
/// The most that the first line takes.
pub(super) const MAX_FIRST_LINE_BYTES: usize = 500;

impl Report {
    /// Chooses which of the rows, of these sizes, fit into `room` bytes: the heaviest first, in
    /// their own order. A line that says that some are left out takes `omission` bytes.
    pub(super) fn fit(&self, sizes: &[usize], room: usize, omission: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        if sizes.iter().sum::<usize>() <= room {
            return order;
        }
        order.sort_by_key(|i| {
            let rank = self.rows.get(*i).map_or(0, |row| row.ballot().rank());
            std::cmp::Reverse(rank)
        });
        let mut left = room.saturating_sub(omission);
        order.retain(|i| {
            let size = sizes.get(*i).copied().unwrap_or(0);
            let fits = size <= left;
            left -= if fits { size } else { 0 };
            fits
        });
        order.sort_unstable();
        order
    }
}

/// Cuts a text to `max` bytes at a character, and ends it in `…`.
pub(super) fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}
