"""How the runner of tests judges: on real programs of Rust tests, real pytest, and processes that are left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
import unittest.mock
from pathlib import Path

from testing.children import Children, Run, members
from testing.lanes import Account, report, run_all
from testing.suites import Program, Pytest, RustTests, Suite, of_libtest, of_pytest

SCRIPTS = Path(__file__).resolve().parent
PATIENCE_S = 60.0

RUST = """
    use std::process::{Command, Stdio, abort};
    fn marked(name: &str) -> bool { std::fs::File::create_new(name).is_err() }
    #[test] fn good() {}
    #[test] fn bad_once() { assert!(marked("once"), "only once") }
    #[test] fn bad_always() { println!("printed"); panic!("always") }
    #[test] #[should_panic(expected = "this")] fn panics_otherwise() { panic!("that") }
    #[test] fn leaves_a_process() {
        let mut sleep = Command::new("sleep");
        sleep.arg("987").stdin(Stdio::inherit());
        #[allow(clippy::zombie_processes)]
        sleep.spawn().unwrap();
    }
    #[test] fn can_be_interrupted() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\\t")).unwrap();
        // SIGHUP, SIGINT and SIGQUIT.
        assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0b111, 0);
    }
    #[test] fn aborts() { abort() }
    #[test] fn hangs() {
        std::fs::write("pid", std::process::id().to_string()).unwrap();
        std::thread::sleep(std::time::Duration::from_secs(987))
    }
"""

class Folder(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.children = Children(self.folder / "logs")
        self.addCleanup(self.children.stop)

    def account(self, *suites: Suite, limit_s: float = PATIENCE_S) -> Account:
        return run_all(self.children, [[suite] for suite in suites], limit_s)


class OfRust(Folder):
    @classmethod
    def setUpClass(cls) -> None:
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        source, program = Path(scratch.name, "tests.rs"), Path(scratch.name, "tests")
        source.write_text(textwrap.dedent(RUST))
        subprocess.run(["rustc", "--edition=2024", "--test", source, "-o", program], check=True)
        cls.program = str(program)

    def only(self, *names: str) -> RustTests:
        """A program with these tests only."""
        program = self.folder / "program"
        # What the runner gives comes last: "--exact NAME" of a test that is run alone narrows it down.
        program.write_text(
            f"""#!{sys.executable}
import os, sys
given = sys.argv[1:]
names = [] if given[1:2] == ["--exact"] else {["--exact", *names]!r}
os.execv({self.program!r}, [{self.program!r}, *names, *given])
"""
        )
        program.chmod(0o755)
        return RustTests("rust", str(program), self.folder, threads=3)

    def test_what_passes_alone_is_flaky_and_what_never_passes_has_failed(self) -> None:
        account = self.account(self.only("good", "bad_once", "bad_always", "panics_otherwise"))
        self.assertEqual([failure.name for failure in account.flaky], ["rust: bad_once"])
        self.assertEqual(sorted(f.name for f in account.failed), ["rust: bad_always", "rust: panics_otherwise"])
        self.assertEqual((account.passed, account.problems, account.good), (2, [], False))
        lines = report(account).splitlines()
        self.assertEqual(lines[-1], "2 passed, 2 failed")
        self.assertIn("flaky, passed alone: rust: bad_once", lines)
        self.assertIn("failed: rust: bad_always", lines)
        # The first time and twice again.
        self.assertEqual(lines.count("always"), 3, lines)
        self.assertEqual(lines.count("only once"), 1, lines)

    def test_one_that_is_only_flaky_fails_nothing(self) -> None:
        account = self.account(self.only("good", "bad_once"))
        self.assertTrue(account.good)
        last = ["flaky, passed alone: rust: bad_once", "2 passed, 0 failed"]
        self.assertEqual(report(account).splitlines()[-2:], last)

    def test_a_program_that_crashes_is_a_problem(self) -> None:
        account = self.account(self.only("good", "aborts"))
        self.assertFalse(account.good)
        self.assertIn("SIGABRT; nothing is known of: aborts", report(account))

    def test_a_program_that_hangs_is_ended_and_the_test_is_named(self) -> None:
        account = self.account(self.only("good", "hangs"), limit_s=2)
        self.assertFalse(account.good)
        self.assertIn("and ended; nothing is known of: hangs", report(account))

    def test_nothing_that_ran_is_no_success(self) -> None:
        account = self.account(self.only("no_such_test"))
        self.assertFalse(account.good)
        self.assertEqual(report(account).splitlines()[-1], "0 passed, 0 failed")

    def test_what_a_test_leaves_running_is_ended_and_named(self) -> None:
        outcome = self.only("leaves_a_process").run(self.children, PATIENCE_S)
        self.assertEqual((outcome.passed, outcome.problem), (1, ""))
        self.assertEqual([left.rpartition(" (pid")[0] for left in outcome.left], ["sleep 987"])
        self.assertLess(outcome.seconds, 900)

    def test_children_take_the_signals_that_the_runner_ignores(self) -> None:
        self.assertEqual(self.in_a_runner("can_be_interrupted", ignoring="INT QUIT HUP").wait(PATIENCE_S), 0)

    def test_an_interrupted_runner_ends_what_it_has_started(self) -> None:
        runner = self.in_a_runner("hangs")
        pid = self.folder / "pid"
        deadline = time.monotonic() + PATIENCE_S
        while not (pid.exists() and pid.read_text()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.assertNotEqual(members(int(pid.read_text())), [])
        runner.send_signal(signal.SIGINT)
        self.assertEqual(runner.wait(PATIENCE_S), 130)
        self.assertEqual(members(int(pid.read_text())), [])

    def in_a_runner(self, test: str, *, ignoring: str = "") -> subprocess.Popen[bytes]:
        """A runner in a process of its own, without stdin."""
        code = f"""
            import sys
            from pathlib import Path
            from testing.children import Children, run_until_interrupted
            from testing.suites import RustTests
            folder = Path({str(self.folder)!r})
            suite = RustTests("inner", {self.only(test).program!r}, folder, threads=1)
            children = Children(folder / "inner")
            sys.exit(run_until_interrupted(children, lambda: suite.run(children, {PATIENCE_S}).passed == 1))
        """
        trap = f"trap '' {ignoring}; " if ignoring else ""
        script = f'{trap}exec "$0" -c "$1" <&-'
        runner = subprocess.Popen(["sh", "-c", script, sys.executable, textwrap.dedent(code)], cwd=SCRIPTS)
        self.addCleanup(runner.wait)
        self.addCleanup(runner.kill)
        return runner


class OfPython(Folder):
    def suite(self, code: str) -> Pytest:
        (self.folder / "test_it.py").write_text(textwrap.dedent(code))
        (self.folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        return Pytest("python", sys.executable, self.folder, workers=2, report=self.folder / "report.xml")

    def test_each_is_judged_by_itself_whatever_it_is_called(self) -> None:
        account = self.account(
            self.suite(
                """
                import pytest
                def test_good(): pass
                class TestClass:
                    @pytest.mark.parametrize("what", ["a - b", "c::d"])
                    def test_bad(self, what): assert what == "", "always"
                def test_bad_once():
                    try: open("once", "x")
                    except FileExistsError: return
                    assert False, "only once"
                """
            )
        )
        self.assertEqual([failure.test for failure in account.flaky], ["test_it.py::test_bad_once"])
        bad = ["test_it.py::TestClass::test_bad[a - b]", "test_it.py::TestClass::test_bad[c::d]"]
        self.assertEqual(sorted(failure.test for failure in account.failed), bad)
        self.assertEqual((account.passed, account.problems), (2, []))
        self.assertIn("only once", report(account))

    def test_one_whose_fixture_ends_badly_has_failed(self) -> None:
        account = self.account(
            self.suite(
                """
                import pytest
                @pytest.fixture
                def broken(): yield; raise OSError("no end")
                def test_it(broken): pass
                """
            )
        )
        self.assertEqual([failure.test for failure in account.failed], ["test_it.py::test_it"])

    def test_one_that_ends_its_process_fails_the_run(self) -> None:
        account = self.account(self.suite("import os\ndef test_good(): pass\ndef test_it(): os._exit(3)\n"))
        self.assertFalse(account.good)
        self.assertIn("test_it.py::test_it", report(account))

    def test_a_file_that_does_not_load_fails_the_run(self) -> None:
        account = self.account(self.suite("import no_such_module\n"))
        self.assertFalse(account.good)
        self.assertIn("no_such_module", report(account))


class OfPrograms(Folder):
    def test_a_program_is_a_test_itself(self) -> None:
        once = "import os; os.path.exists('once') or [open('once', 'x'), os._exit(1)]"
        account = self.account(
            Program("good", [sys.executable, "-c", ""], self.folder),
            Program("once", [sys.executable, "-c", once], self.folder),
            Program("bad", [sys.executable, "-c", "raise SystemExit('so bad')"], self.folder),
        )
        self.assertEqual(([f.name for f in account.flaky], [f.name for f in account.failed]), (["once"], ["bad"]))
        self.assertEqual(report(account).splitlines()[-1], "2 passed, 1 failed")
        self.assertIn("so bad", report(account))

    def test_stdin_is_empty_and_nothing_of_make_is_inherited(self) -> None:
        code = "import os, sys; sys.exit(bool(sys.stdin.read() or 'MAKEFLAGS' in os.environ))"
        with unittest.mock.patch.dict(os.environ, MAKEFLAGS="--jobserver-fds=3,4"):
            account = self.account(Program("reads", [sys.executable, "-c", code], self.folder))
        self.assertTrue(account.good)


class OfOutput(unittest.TestCase):
    def test_a_test_whose_line_another_process_broke_is_counted(self) -> None:
        out = "test it ... hello from a child\nok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n"
        outcome = of_libtest(["it"], Run(0, out, "", 1.0))
        self.assertEqual((outcome.passed, outcome.failed, outcome.problem), (1, {}, ""))

    def test_counts_that_do_not_add_up_are_a_problem(self) -> None:
        out = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n"
        self.assertTrue(of_libtest(["it", "another"], Run(0, out, "", 1.0)).problem)
        self.assertTrue(of_libtest(["it"], Run(101, out, "", 1.0)).problem)
        self.assertTrue(of_libtest(["it"], Run(0, "", "", 1.0)).problem)

    def test_pytest_without_tests_is_a_problem(self) -> None:
        self.assertTrue(of_pytest(Run(5, "no tests ran", "", 1.0), "<testsuites/>").problem)
        self.assertTrue(of_pytest(Run(1, "", "", 1.0), "<testsuites/>").problem)
        self.assertTrue(of_pytest(Run(1, "", "", 1.0), "").problem)
