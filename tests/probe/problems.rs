//! What a refused setting looks like: one line that says where it was set, and what is wrong with it.

use ready_probe_test_support::process::Run;

/// Planted wherever a secret may stand.
pub const SECRET: &str = "hUnTeR2";

/// What a usage error and a configuration error exit with.
pub const USAGE: i32 = 64;
pub const CONFIG: i32 = 78;

/// What is wrong with each run, so that a failing table shows all of its rows at once.
#[derive(Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// A run must have ended with this status and said one line: where, and what.
    pub fn one_line(&mut self, run: &Run, code: i32, at: &str, what: &str) {
        let line = run.stderr.strip_suffix('\n').unwrap_or_default();
        let expected = [
            ("exit status", run.code() == code),
            ("nothing on stdout", run.stdout.is_empty()),
            ("one line", !line.is_empty() && !line.contains('\n')),
            ("at most 500 bytes", line.len() <= 500),
            ("the place", line.starts_with(&format!("ready-probe: {at}"))),
            ("the reason", line.contains(what)),
            ("no secret", !line.contains(SECRET)),
        ];
        for (what_of, _) in expected.iter().filter(|(_, as_expected)| !as_expected) {
            let stderr: String = run.stderr.chars().take(600).collect();
            let code = run.code();
            self.0
                .push(format!("{at:?} {what:?}: not {what_of}: {code} {stderr:?}"));
        }
    }
}

impl Drop for Problems {
    fn drop(&mut self) {
        assert!(
            self.0.is_empty() || std::thread::panicking(),
            "{}",
            self.0.join("\n")
        );
    }
}
