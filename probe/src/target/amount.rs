//! How much of something: a part of it, or a number. Without I/O.

/// The units of sizes, the largest first.
const UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// A limit of what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many percent of all.
    Percent(u8),
    /// So many, or so many bytes.
    Number(u64),
}

/// `5%`.
pub fn percent(text: &str) -> Result<u8, String> {
    text.strip_suffix('%')
        .and_then(|number| number.parse().ok())
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| "it is written 90%, with a whole number from 0% to 100%".to_owned())
}

/// `5%` or `1GiB`.
pub fn percent_or_size(text: &str) -> Result<Amount, String> {
    percent(text)
        .map(Amount::Percent)
        .or_else(|_| size(text).map(Amount::Number).ok_or(()))
        .map_err(|()| {
            "it is written 5%, 1GiB or 500MiB: a whole number, and %, KiB, MiB, GiB or TiB"
                .to_owned()
        })
}

/// `5%` or `1000`.
pub fn percent_or_number(text: &str) -> Result<Amount, String> {
    match percent(text) {
        Ok(percent) => Ok(Amount::Percent(percent)),
        Err(_) => text
            .parse()
            .map(Amount::Number)
            .map_err(|_| "it is written 5% or 1000".to_owned()),
    }
}

/// `1GiB`
fn size(text: &str) -> Option<u64> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    number.parse::<u64>().ok()?.checked_mul(*unit)
}

/// A number of bytes for people: `1.5GiB`.
pub fn size_shown(bytes: u64) -> String {
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{}{name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_parts_or_numbers() {
        use Amount::{Number, Percent};
        let table = [
            ("0%", Some(Percent(0)), Some(Percent(0))),
            ("5%", Some(Percent(5)), Some(Percent(5))),
            ("100%", Some(Percent(100)), Some(Percent(100))),
            ("101%", None, None),
            ("-1%", None, None),
            ("5.5%", None, None),
            ("5 %", None, None),
            ("1GiB", Some(Number(1 << 30)), None),
            ("3KiB", Some(Number(3072)), None),
            ("1.5GiB", None, None),
            ("1GB", None, None),
            ("99999999TiB", None, None),
            ("1000", None, Some(Number(1_000))),
            ("%", None, None),
            ("GiB", None, None),
            ("", None, None),
        ];
        for (text, of_bytes, of_things) in table {
            assert_eq!(percent_or_size(text).ok(), of_bytes, "{text}");
            assert_eq!(percent_or_number(text).ok(), of_things, "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_one_decimal() {
        for (bytes, want) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1_024, "1.0KiB"),
            (1_536, "1.5KiB"),
            ((1 << 20) - 1, "1023.9KiB"),
            (7 << 30, "7.0GiB"),
            (u64::MAX, "16777215.9TiB"),
        ] {
            assert_eq!(size_shown(bytes), want);
        }
    }
}
