"""Rules of the house that no linter knows."""

import ast
import re
import statistics
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from sources import CODE, ROOT, nodes_of

PATTERNS = ("tests/**/*.py", "tools/*.py", "benchmarks/*.py", "benchmarks/[!.]*/*.py")
ALL_PYTHON = sorted([*CODE, *(path for pattern in PATTERNS for path in ROOT.glob(pattern))])
BANNED_NAMES = re.compile(r"handle|manager|utils|helper", re.IGNORECASE)
OURS = {"hubbleclip", "flows", "data_contracts", "experiments"}
ALLOWED = {"hubbleclip/images/reader.py": {"_compression"}, "hubbleclip/core/interrupts.py": {"_exit"}}
"""Private names of other libraries that are used, by file: astropy raises an exception that it exports nowhere else, and
`os._exit` is documented.
"""
BY_NAME = {"getattr", "setattr", "hasattr", "attrgetter"}
TUPLE_NAMES = {"_replace", "_asdict", "_fields", "_make", "_field_defaults"}
"""What the standard library documents of named tuples."""


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in nodes_of(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def documentation_lines(nodes: Iterable[ast.AST]) -> set[int]:
    """Lines of docstrings: a function may be documented at any length."""
    strings = [
        node.value
        for node in nodes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return {line for one in strings for line in range(one.lineno, one.end_lineno + 1)}


def lengths_of_functions(path: Path) -> dict[str, int]:
    documented = documentation_lines(nodes_of(path))
    lines = {f"{path.name}:{node.name}": range(node.lineno, node.end_lineno + 1) for node in functions(path)}
    return {name: len(set(of_function) - documented) for name, of_function in lines.items()}


def code_lines(text: str) -> int:
    """Lines of a file without docstrings, comments and blank lines."""
    documented = documentation_lines(ast.walk(ast.parse(text)))
    lines = [line.strip() for number, line in enumerate(text.splitlines(), 1) if number not in documented]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def test_functions_are_short() -> None:
    lengths = {name: num for path in CODE for name, num in lengths_of_functions(path).items()}
    assert {name: n for name, n in lengths.items() if n > 60} == {}
    assert statistics.median(lengths.values()) <= 17
    assert sum(n <= 30 for n in lengths.values()) / len(lengths) >= 0.8


def test_files_are_short() -> None:
    sources = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in ALL_PYTHON}
    long = {name: n for name, text in sources.items() if text.count("\n") > 400 and (n := code_lines(text)) > 400}
    assert not long, "split the file by its subjects into modules, or move rows of a table into a file of data"


def test_names_say_what_a_thing_does() -> None:
    names = [f"{p.name}:{n.name}" for p in CODE for n in functions(p) if BANNED_NAMES.search(n.name)]
    names.remove("server.py:handle_exit")  # replaces a method of uvicorn
    files = [p.name for p in CODE if BANNED_NAMES.search(p.stem)]
    assert names + files == []


def test_settings_are_made_at_the_edge_only() -> None:
    made = [p for p in CODE if re.search(r"\b(Settings|read_settings)\(", p.read_text(encoding="utf-8"))]
    edge = {
        "flows/",
        "hubbleclip/cli/options.py",
        "hubbleclip/config/settings.py",
        "hubbleclip/pipeline/train.py",
        "experiments/",
    }
    names = [str(p.relative_to(ROOT)) for p in made]
    assert [name for name in names if not name.startswith(tuple(edge))] == []


def test_broad_except_is_where_items_fail_and_where_libraries_open_a_stranger_s_files() -> None:
    broad = [
        p.name
        for p in CODE
        for node in nodes_of(p)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
    ]
    assert sorted(broad) == ["attempts.py", "errors.py"]


def test_records_and_settings_sections_are_frozen() -> None:
    text = (ROOT / "hubbleclip/core/records.py").read_text(encoding="utf-8")
    num_records = text.count("\nclass ") - text.count("(Protocol):")
    assert text.count("@dataclass(frozen=True, slots=True, kw_only=True)") == num_records


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


def test_names_of_test_files_are_unique() -> None:
    """The folders of tests are no packages, so pytest cannot tell two files of one name apart."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, num in names.items() if num > 1] == []


def test_nothing_large_is_tracked() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    limits = {"docs/demo/search.webp": 600_000}  # the clip of the README
    files = [name for name in tracked if (ROOT / name).is_file()]
    assert [name for name in files if (ROOT / name).stat().st_size > limits.get(name, 200_000)] == []


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def imported(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Full name of all that is imported, and the name that it has in the file."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((one.name, one.asname or one.name.partition(".")[0]) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module or ''}.{one.name}", one.asname or one.name) for one in node.names)


def is_ours(full_name: str) -> bool:
    return full_name.partition(".")[0] in OURS | {""}


def named(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str | None]]:
    """Every name behind a dot, also by `getattr` and its kind, with the name that its chain begins with."""
    for node in nodes:
        if isinstance(node, ast.Attribute):
            yield node.attr, first_name(node.value)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) in BY_NAME:
            texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            yield from ((name, first_name(node.args[0])) for text in texts for name in text.split("."))


def first_name(node: ast.AST) -> str | None:
    """`a` for `a`, `a.b`, `a[0].b` and `a(0).b`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def defined(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Names that classes and functions of a file define: methods, names in a class, and what is set on `self`."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            targets = [one for part in node.body for one in getattr(part, "targets", [getattr(part, "target", None)])]
            yield from (one.id for one in targets if isinstance(one, ast.Name))
        elif (
            isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and first_name(node) in {"self", "cls"}
        ):
            yield node.attr


def foreign_private_names(nodes: Sequence[ast.AST], inherited: set[str]) -> set[str]:
    """Private names that belong to another library, or to another file: a file may use its own on any object, and on
    `self` those that other classes of this project define, the `inherited`.
    """
    names = list(imported(nodes))
    found = {part for full, _ in names if not is_ours(full) for part in full.split(".") if is_private(part)}
    foreign = {local for full, local in names if not is_ours(full)}
    own = {*defined(nodes), *TUPLE_NAMES}
    for name, first in named(nodes):
        allowed = own | inherited if first in {"self", "cls"} else own
        if is_private(name) and (first in foreign or name not in allowed):
            found.add(name)
    return found


def test_private_names_of_other_libraries_are_left_alone() -> None:
    ours = {name for path in CODE for name in defined(nodes_of(path))}
    used = {str(path.relative_to(ROOT)): foreign_private_names(nodes_of(path), ours) for path in CODE}
    assert {
        path: names - ALLOWED.get(path, set()) for path, names in used.items() if names - ALLOWED.get(path, set())
    } == {}


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("from torch.nn import _Norm", True),
        ("import torch._dynamo", True),
        ("from a._b import C", True),
        ("import torch\ntorch.cpu._is_fast()", True),
        ("from astroquery.mast import Observations as obs\nobs._session = 1", True),
        ("from a import make\nmake().part[0]._name", True),
        ("made.client._name", True),
        ("self._name", True),
        ("other._inherited", True),
        ("getattr(made, '_name')", True),
        ("self._own = 1\nother._own", False),
        ("self._inherited", False),
        ("row._replace(a=1)", False),
        ("from hubbleclip.pipeline.engine.batches import Stage", False),
        ("import a\na.__version__", False),
    ],
)
def test_the_check_finds_private_names_but_our_own(code: str, is_found: bool) -> None:
    assert bool(foreign_private_names([*ast.walk(ast.parse(code))], {"_inherited"})) is is_found


def test_no_object_changes_its_class() -> None:
    changed = [
        f"{path.name}:{node.lineno}"
        for path in CODE
        for node in nodes_of(path)
        if isinstance(node, ast.Attribute) and node.attr == "__class__" and isinstance(node.ctx, ast.Store)
    ]
    assert changed == []
