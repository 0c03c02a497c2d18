"""Sources of the project and the nodes of their syntax trees, made once per process."""

import ast
import gc
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = sorted(path for folder in ("hubbleclip", "flows", "experiments") for path in (ROOT / folder).rglob("*.py"))


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Return the nodes of a file, first the module; no garbage is looked for meanwhile, since all nodes stay."""
    gc.disable()
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    gc.enable()
    return nodes
