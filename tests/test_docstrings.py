"""Docstrings say what the signature does not: sections for public names, elsewhere a sentence."""

import ast
import importlib.util
from collections.abc import Iterator

from sources import CODE, ROOT, nodes_of

from hubbleclip.config.settings import Settings

DOCUMENTED = [path for path in CODE if not path.is_relative_to(ROOT / "experiments")]
EXEMPT = {"property", "cached_property", "model_validator", "field_validator", "overload"}
"""Decorators of methods that are read as attributes or called by pydantic."""
MAX_LONGER = 0.2
"""Share of functions whose docstring may be longer than their body."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_names() -> list[str]:
    """Names on the pages of the API reference, each a class, a function or a module."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [name for names in module.PUBLIC.values() for name in names]


def node_of(name: str) -> ast.Module | ast.ClassDef | Function:
    """The syntax tree of a dotted name."""
    path = ROOT / f"{name.replace('.', '/')}.py"
    if path.is_file():
        return nodes_of(path)[0]
    module, _, last = name.rpartition(".")
    nodes = nodes_of(ROOT / f"{module.replace('.', '/')}.py")
    return next(node for node in nodes[0].body if getattr(node, "name", None) == last)


def functions_of(node: ast.AST) -> Iterator[Function]:
    """A public function itself, or the public methods of a class."""
    for part in [node] if isinstance(node, Function) else getattr(node, "body", []):
        decorators = {word for one in getattr(part, "decorator_list", []) for word in ast.unparse(one).split(".")}
        if isinstance(part, Function) and not part.name.startswith("_") and not decorators & EXEMPT:
            yield part


def missing_sections(function: Function) -> list[str]:
    text = ast.get_docstring(function) or ""
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    takes = {arg.arg for arg in [*named, function.args.vararg, function.args.kwarg] if arg} - {"self", "cls"}
    returns = function.returns is not None and ast.unparse(function.returns) not in {"None", "Never", "Self"}
    raises = any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(function))
    sections = {"Parameters": bool(takes), "Returns": returns, "Raises": raises}
    written = {name for name in sections if f"{name}\n---" in text.replace("Yields\n---", "Returns\n---")}
    return [name for name, needed in sections.items() if needed and name not in written]


def test_what_users_and_extenders_call_has_its_sections() -> None:
    nodes = {name: node_of(name) for name in public_names()}
    assert [name for name, node in nodes.items() if not ast.get_docstring(node)] == []
    methods = {
        f"{name}.{one.name}": missing_sections(one)
        for name, node in nodes.items()
        if not isinstance(node, ast.Module)
        for one in functions_of(node)
    }
    assert {name: missing for name, missing in methods.items() if missing} == {}


def test_the_public_names_of_the_package_are_in_the_reference() -> None:
    package = nodes_of(ROOT / "hubbleclip/__init__.py")[0]
    (named,) = [
        ast.literal_eval(node.value)
        for node in package.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert {name for name in named if name != "__version__"} - {
        name.rpartition(".")[2] for name in public_names()
    } == set()


def test_every_setting_is_documented() -> None:
    sections = [
        field.annotation for field in Settings.model_fields.values() if hasattr(field.annotation, "model_fields")
    ]
    assert len(sections) > 8
    fields = [(name, field) for section in [Settings, *sections] for name, field in section.model_fields.items()]
    assert [name for name, field in fields if not field.description and field.annotation not in sections] == []


def docstring_lines(node: ast.AST) -> int:
    first = node.body[0] if getattr(node, "body", None) and isinstance(node.body, list) else None
    has_text = ast.get_docstring(node) is not None
    return first.end_lineno - first.lineno + 1 if has_text else 0


def test_few_docstrings_are_longer_than_the_body() -> None:
    functions = [node for path in DOCUMENTED for node in nodes_of(path) if isinstance(node, Function)]
    bodies = [(docstring_lines(n), n.end_lineno - n.body[0].end_lineno) for n in functions if docstring_lines(n)]
    assert sum(0 < body < documented for documented, body in bodies) <= MAX_LONGER * len(functions)
