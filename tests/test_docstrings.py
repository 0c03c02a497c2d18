"""Every public function says in its docstring what it takes, returns and raises, in numpydoc sections."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXEMPT = {"property", "cached_property", "flow", "command", "default", "model_validator", "field_validator", "overload"}
"""Decorators of functions whose readers look elsewhere: attributes, Prefect's pages, `--help`, pydantic."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> list[Path]:
    return sorted([*(ROOT / "hubbleclip").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])


def public_functions(tree: ast.Module) -> Iterator[Function]:
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (item for item in node.body if isinstance(item, Function) and not item.name.startswith("_"))


def is_exempt(function: Function) -> bool:
    names = {part for decorator in function.decorator_list for part in ast.unparse(decorator).split("(")[0].split(".")}
    return bool(names & EXEMPT)


def takes_something(function: Function) -> bool:
    args = function.args
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
    return any(arg.arg not in {"self", "cls"} and not arg.arg.startswith("_") for arg in named)


def returns_something(function: Function) -> bool:
    return function.returns is not None and ast.unparse(function.returns) not in {"None", "Never", "NoReturn"}


def missing_sections(function: Function) -> list[str]:
    text = ast.get_docstring(function) or ""
    if text.startswith("See `") or is_exempt(function):
        return []
    raised = {
        name
        for node in ast.walk(function)
        if isinstance(node, ast.Raise) and node.exc is not None
        for name in [ast.unparse(node.exc).split("(")[0]]
        if name.endswith("Error")
    }
    missing = []
    if takes_something(function) and "Parameters\n---" not in text:
        missing.append("Parameters")
    if returns_something(function) and "Returns\n---" not in text and "Yields\n---" not in text:
        missing.append("Returns")
    if raised and "Raises\n---" not in text:
        missing.append("Raises")
    return missing


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_have_their_sections(path: Path) -> None:
    functions = public_functions(ast.parse(path.read_text(encoding="utf-8")))
    assert {f.name: missing for f in functions if (missing := missing_sections(f))} == {}
