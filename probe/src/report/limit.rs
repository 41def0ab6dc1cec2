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
        let order = 0..sizes.len();
        if sizes.iter().sum::<usize>() <= room {
            return order.collect();
        }
        let ranks: Vec<u8> = self.rows.iter().map(|row| row.ballot().rank()).collect();
        let heaviest = ranks.iter().copied().max().unwrap_or(0);
        let mut fits = vec![false; sizes.len()];
        let mut left = room.saturating_sub(omission);
        for now in (0..=heaviest).rev() {
            for ((rank, size), fits) in ranks.iter().zip(sizes).zip(&mut fits) {
                if *rank == now && *size <= left {
                    left -= size;
                    *fits = true;
                }
            }
        }
        order
            .filter(|i| fits.get(*i).is_some_and(|fits| *fits))
            .collect()
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
