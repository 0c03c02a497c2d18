"""Rules of the house that no linter knows."""

import ast
import re
import statistics
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = sorted([*(ROOT / "hubbleclip").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])
ALL_PYTHON = sorted(
    [
        *CODE,
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "benchmarks").glob("[!.]*/*.py"),
        *(ROOT / "benchmarks").glob("*.py"),
    ]
)
BANNED_NAMES = re.compile(r"handle|manager|utils|helper", re.IGNORECASE)


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def documentation_lines(tree: ast.AST) -> set[int]:
    """Lines of docstrings: a function may be documented at any length."""
    strings = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return {line for one in strings for line in range(one.lineno, one.end_lineno + 1)}


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1 - len(documentation_lines(node))


def code_lines(path: Path) -> int:
    """Lines of a file without docstrings, comments and blank lines."""
    text = path.read_text(encoding="utf-8")
    documented = documentation_lines(ast.parse(text))
    lines = [line.strip() for number, line in enumerate(text.splitlines(), 1) if number not in documented]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def test_functions_are_short() -> None:
    lengths = {f"{path.name}:{node.name}": length(node) for path in CODE for node in functions(path)}
    assert {name: n for name, n in lengths.items() if n > 60} == {}
    assert statistics.median(lengths.values()) <= 17
    assert sum(n <= 30 for n in lengths.values()) / len(lengths) >= 0.8


def test_files_are_short() -> None:
    lengths = {str(p.relative_to(ROOT)): code_lines(p) for p in ALL_PYTHON}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_names_say_what_a_thing_does() -> None:
    names = [f"{p.name}:{n.name}" for p in CODE for n in functions(p) if BANNED_NAMES.search(n.name)]
    files = [p.name for p in CODE if BANNED_NAMES.search(p.stem)]
    assert names + files == []


def test_settings_are_made_at_the_edge_only() -> None:
    made = [p for p in CODE if re.search(r"\b(Settings|read_settings)\(", p.read_text(encoding="utf-8"))]
    edge = {"flows/", "hubbleclip/cli/options.py", "hubbleclip/config/settings.py", "hubbleclip/pipeline/sweep.py"}
    names = [str(p.relative_to(ROOT)) for p in made]
    assert [name for name in names if not name.startswith(tuple(edge))] == []


def test_broad_except_is_in_one_place() -> None:
    broad = [
        p.name
        for p in CODE
        for node in ast.walk(ast.parse(p.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
    ]
    assert broad == ["attempts.py"]


def test_records_and_settings_sections_are_frozen() -> None:
    text = (ROOT / "hubbleclip/core/records.py").read_text(encoding="utf-8")
    assert text.count("@dataclass(frozen=True, slots=True, kw_only=True)") == text.count("\nclass ")


@pytest.mark.parametrize("folder", sorted({ROOT.resolve(), Path.home()} - {Path("/")}), ids=str)
def test_no_path_of_this_machine(folder: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = [ROOT / name for name in tracked if not name.endswith((".png", ".jpg"))]
    told = f"{folder}/"
    assert [p.name for p in texts if p.is_file() and told in p.read_text(encoding="utf-8", errors="ignore")] == []


def test_rooms_are_folders_of_at_most_16_modules() -> None:
    folders = {path.parent for path in CODE}
    crowded = {str(f.relative_to(ROOT)): n for f in folders if (n := len({*f.glob("*.py")} - {f / "__init__.py"})) > 16}
    loose = [path.name for path in (ROOT / "hubbleclip").glob("*.py") if path.name != "__init__.py"]
    assert (crowded, loose) == ({}, [])


def test_nothing_large_is_tracked() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in tracked if (ROOT / name).is_file() and (ROOT / name).stat().st_size > 200_000] == []
