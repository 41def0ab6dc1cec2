//! Is enough of a file system free?

use std::path::Path;

use super::share::Share;
use crate::link::connect::plain;
use crate::outcome::Outcome;
use crate::target::amount::{Amount, size_shown};

/// `disk:`
pub fn ask(path: &Path, free: Option<Amount>, inodes: Option<Amount>) -> Outcome {
    let stat = match rustix::fs::statvfs(path) {
        Ok(stat) => stat,
        Err(e) => return Outcome::unknown(plain(&e.into())),
    };
    // As df(1) counts: what is kept for root is neither free nor in use.
    let of = |left: u64, free: u64, all: u64| Share {
        part: left,
        whole: all.saturating_sub(free).saturating_add(left),
    };
    let blocks = of(stat.f_bavail, stat.f_bfree, stat.f_blocks);
    let in_bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    judge(
        Share {
            part: in_bytes(blocks.part),
            whole: in_bytes(blocks.whole),
        },
        free,
        of(stat.f_favail, stat.f_ffree, stat.f_files),
        inodes,
    )
}

/// A file system that counts no inodes has as many as it needs.
fn judge(
    space: Share,
    free: Option<Amount>,
    inodes: Share,
    inodes_limit: Option<Amount>,
) -> Outcome {
    let is_short = |left: Share, limit: Option<Amount>| match limit {
        None => false,
        Some(Amount::Percent(percent)) => left.is_below(percent),
        Some(Amount::Number(number)) => left.part < number,
    };
    let short_of_inodes = inodes.whole > 0 && is_short(inodes, inodes_limit);
    let short_of_space = is_short(space, free);
    let mut said = format!(
        "{} free ({}%)",
        size_shown(space.part),
        space.percent_left()
    );
    if let (true, Some(limit)) = (short_of_space, free) {
        said.push_str(&needed(limit, size_shown));
    }
    if inodes.whole > 0 && (short_of_inodes || !short_of_space) {
        said.push_str(&format!(
            ", {} inodes ({}%)",
            inodes.part,
            inodes.percent_left()
        ));
        if let (true, Some(limit)) = (short_of_inodes, inodes_limit) {
            said.push_str(&needed(limit, |number| number.to_string()));
        }
    }
    if short_of_space || short_of_inodes {
        return Outcome::fail(said);
    }
    Outcome::Pass(said)
}

fn needed(limit: Amount, shown: fn(u64) -> String) -> String {
    let limit = match limit {
        Amount::Percent(percent) => format!("{percent}%"),
        Amount::Number(number) => shown(number),
    };
    format!(", {limit} needed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_table() {
        use Amount::{Number, Percent};
        const GIB: u64 = 1 << 30;
        let share = |part, whole| Share { part, whole };
        let space = share(3 * GIB, 100 * GIB);
        let inodes = share(40, 1_000);
        let table = [
            // free=, inodes=, outcome
            (None, None, "pass 3.0GiB free (3%), 40 inodes (4%)"),
            (
                Some(Percent(3)),
                Some(Percent(4)),
                "pass 3.0GiB free (3%), 40 inodes (4%)",
            ),
            (
                Some(Number(3 * GIB)),
                Some(Number(40)),
                "pass 3.0GiB free (3%), 40 inodes (4%)",
            ),
            (Some(Percent(4)), None, "fail 3.0GiB free (3%), 4% needed"),
            (
                Some(Number(4 * GIB)),
                Some(Percent(4)),
                "fail 3.0GiB free (3%), 4.0GiB needed",
            ),
            (
                None,
                Some(Percent(5)),
                "fail 3.0GiB free (3%), 40 inodes (4%), 5% needed",
            ),
            (
                Some(Percent(4)),
                Some(Number(41)),
                "fail 3.0GiB free (3%), 4% needed, 40 inodes (4%), 41 needed",
            ),
        ];
        for (free, inodes_limit, want) in table {
            let outcome = judge(space, free, inodes, inodes_limit);
            assert_eq!(format!("{} {}", outcome.word(), outcome.text()), want);
        }
        let countless = judge(space, None, share(0, 0), Some(Number(1)));
        assert_eq!(countless, Outcome::Pass("3.0GiB free (3%)".to_owned()));
        let empty = judge(share(0, 0), Some(Percent(0)), share(0, 0), None);
        assert_eq!(empty.word(), "pass");
    }
}
