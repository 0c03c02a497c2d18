"""`make mutants` tells faults that the tests notice from those that they do not, and its patches are current."""

import subprocess
from pathlib import Path

import pytest

from tools.mutants import APPLY, ROOT, changed_since, main, read_mutants

PATCH = """fault: {fault}
tests: {tests}
--- a/number.py
+++ b/number.py
@@ -1,2 +1,2 @@
 def double(n):
-    return {old}
+    return {new}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a function and a test of it."""
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "number.py").write_text("def double(n):\n    return n + n\n")
    test = "import number\n\ndef test_double():\n    assert number.double(3) == {}\n"
    (tmp_path / "test_number.py").write_text(test.format(6))
    (tmp_path / "test_broken.py").write_text(test.format(7))
    (tmp_path / "tests/mutants").mkdir(parents=True)
    return tmp_path


def plant(root: Path, name: str, new: str, old: str = "n + n", tests: str = "test_number.py") -> None:
    text = PATCH.format(fault=f"fault {name}", tests=tests, old=old, new=new)
    (root / f"tests/mutants/{name}.patch").write_text(text)


@pytest.mark.slow
def test_a_fault_that_the_tests_notice_is_caught(root: Path, capsys: pytest.CaptureFixture) -> None:
    plant(root, "tripled", "3 * n")
    plant(root, "doubled", "2 * n")
    assert main(["tripled"], root) == 0
    assert "caught          test_number.py::test_double" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        ({"new": "2 * n"}, "one SURVIVED: fault one"),
        ({"new": "3 * n", "old": "n - n"}, "one does not apply: fault one (error: patch failed: number.py"),
        ({"new": "3 * n", "tests": "test_broken.py"}, "without a fault, test_broken.py::test_double"),
        ({"new": "3 * ("}, "one did not run: fault one"),
        ({"new": "3 * n", "tests": "test_absent.py"}, "one did not run: fault one"),
    ],
)
def test_all_else_is_an_error_that_names_the_fault(
    root: Path, capsys: pytest.CaptureFixture, patch: dict, problem: str
) -> None:
    plant(root, "one", **patch)
    assert main([], root) == 1
    assert problem in capsys.readouterr().out


def test_mutants_are_chosen_by_the_files_that_changed(root: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=root, check=True)

    plant(root, "one", "3 * n")
    plant(root, "other", "3 * n", tests="test_broken.py")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    mutants = read_mutants(root, [])
    assert changed_since(root, "no-such-branch", mutants) == changed_since(root, "HEAD", mutants) == mutants
    git("branch", "base")
    (root / "test_broken.py").write_text("")
    (root / "number.py").write_text(f'"""Numbers."""  # and more\n\n{(root / "number.py").read_text()}')
    git("commit", "--quiet", "-am", "second")
    assert [one.path.stem for one in changed_since(root, "base", mutants)] == ["other"]


def test_a_patch_without_header_is_refused(root: Path) -> None:
    (root / "tests/mutants/bare.patch").write_text("--- a/number.py\n")
    with pytest.raises(SystemExit, match="bare.patch does not exist or lacks"):
        main([], root)


def test_each_patch_applies_to_the_code_and_names_tests_that_exist() -> None:
    stale = []
    for mutant in read_mutants(ROOT, []):
        command = ["git", "apply", "--check", *APPLY, mutant.path]
        applied = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        tests = [test.partition("[")[0].partition("::") for test in mutant.tests.split()]
        missing = [test for test in tests if f"def {test[2]}" not in (ROOT / test[0]).read_text(encoding="utf-8")]
        if applied.returncode or missing:
            stale.append((mutant.path.stem, applied.stderr, missing))
    assert stale == []
