//! The text in which metrics are exposed, version 0.0.4 of Prometheus's format: families of samples. Knows no metric.

use std::fmt::Write;

/// Samples so far.
#[derive(Debug)]
pub struct Exposition {
    text: String,
    /// What every name begins with.
    prefix: &'static str,
    /// The labels of every sample.
    common: String,
    /// The family that is being written.
    family: &'static str,
}

impl Exposition {
    /// None yet. `prefix` begins every name, and `common` stands in every sample.
    pub fn new(prefix: &'static str, common: &[(&str, &str)]) -> Self {
        Self {
            text: String::new(),
            prefix,
            common: labels(common),
            family: "",
        }
    }

    /// Begins a family of what goes up and down: the samples that follow belong to it.
    pub fn gauge(&mut self, family: &'static str, help: &str) {
        self.begin(family, "gauge", help);
    }

    /// The same of what is only ever counted up.
    pub fn counter(&mut self, family: &'static str, help: &str) {
        self.begin(family, "counter", help);
    }

    fn begin(&mut self, family: &'static str, kind: &str, help: &str) {
        self.family = family;
        let prefix = self.prefix;
        // Writing to a String can't fail.
        let _ = write!(
            self.text,
            "# HELP {prefix}{family} {help}\n# TYPE {prefix}{family} {kind}\n"
        );
    }

    /// Adds a sample to the family.
    pub fn sample(&mut self, own: &[(&str, &str)], value: f64) {
        let own = labels(own);
        let (prefix, family, common) = (self.prefix, self.family, &self.common);
        let comma = if common.is_empty() || own.is_empty() {
            ""
        } else {
            ","
        };
        let _ = writeln!(
            self.text,
            "{prefix}{family}{{{common}{comma}{own}}} {value}"
        );
    }

    /// Adds a sample for each state that there is: 1 for the one that holds, 0 for the others.
    pub fn states(&mut self, own: &[(&str, &str)], states: &[&str], holds: &str) {
        for state in states {
            let mut own = own.to_vec();
            own.push(("state", state));
            self.sample(&own, f64::from(u8::from(*state == holds)));
        }
    }

    /// All of it.
    pub fn text(self) -> String {
        self.text
    }
}

fn labels(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads one sample back, as the format is documented: name, labels in order, value.
    fn read(line: &str) -> (String, Vec<(String, String)>, f64) {
        let (name, rest) = line.split_once('{').unwrap();
        let mut chars = rest.chars();
        let mut labels = Vec::new();
        loop {
            let label: String = chars.by_ref().take_while(|c| *c != '=').collect();
            assert!(label.chars().all(|c| c.is_ascii_lowercase()), "{line}");
            assert_eq!(chars.next(), Some('"'), "{line}");
            let mut value = String::new();
            loop {
                match chars.next().unwrap() {
                    '"' => break,
                    '\\' => value.push(match chars.next().unwrap() {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("\\{c}: {line}"),
                    }),
                    c => value.push(c),
                }
            }
            labels.push((label, value));
            match chars.next().unwrap() {
                ',' => {}
                '}' => break,
                c => panic!("{c}: {line}"),
            }
        }
        let value = chars.as_str().strip_prefix(' ').unwrap();
        (name.to_owned(), labels, value.parse().unwrap())
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_label_is_read_back(
            common in any::<String>(),
            own in prop_oneof![any::<String>(), "[\\\\\"n\n{},= ]{0,12}"],
            value in any::<f64>().prop_filter("a number", |value| value.is_finite()),
        ) {
            let mut metrics = Exposition::new("a_", &[("host", &common)]);
            metrics.gauge("b", "Help.");
            metrics.sample(&[("check", &own), ("state", "pass")], value);
            let text = metrics.text();
            // `lines` would also end at a carriage return, which the format does not know.
            let lines: Vec<&str> = text.split('\n').collect();
            prop_assert_eq!(&lines[..2], &["# HELP a_b Help.", "# TYPE a_b gauge"]);
            prop_assert_eq!((lines.len(), lines[3]), (4, ""));
            let labels = [("host", common.as_str()), ("check", &own), ("state", "pass")];
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
            prop_assert_eq!(read(lines[2]), ("a_b".to_owned(), labels.to_vec(), value));
        }
    }

    #[test]
    fn one_state_of_all_holds() {
        let mut metrics = Exposition::new("", &[]);
        metrics.gauge("verdict", "");
        metrics.states(&[], &["up", "down"], "down");
        metrics.sample(&[], 0.25);
        let text = metrics.text();
        let samples = text.lines().skip(2).collect::<Vec<_>>();
        assert_eq!(
            samples,
            [
                "verdict{state=\"up\"} 0",
                "verdict{state=\"down\"} 1",
                "verdict{} 0.25"
            ]
        );
    }
}
