"""Each code by which an item is rejected, or a tile is excluded, has words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from hubbleclip.core.reasons import REASON_WORDS
from hubbleclip.dataset.splits import assign, schemes

ROOMS = ("archives", "captions", "fits", "images", "pipeline")
CODE = re.compile(r"[a-z]+(_[a-z]+)*")
SPLIT_CODES = {
    *assign.PERMANENT,
    *assign.CAPS,
    schemes.MIXED_GROUP,
    schemes.UNKNOWN,
    schemes.GROUP_CHANGED,
    "sky_guard:overlap",
    "sky_guard:moving_target",
    "sky_guard:old_train",
    "sky_guard:old_val",
}
QUERY_CODES = {"bad_json", "partial", "null_columns"}
"""Faults of the responses to queries, whose codes are words."""


def is_code(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(CODE.fullmatch(node.value))


def is_sentence(node: ast.AST) -> bool:
    is_made = isinstance(node, ast.Call) and ast.unparse(node.func) != "partial"
    return is_made or isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and " " in str(node.value))


def codes_in(tree: ast.AST) -> Iterator[str]:
    """Codes that are given by `reason=`, that are an argument of an error beside its text, or a pair with their text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "reason" and is_code(node.value):
            yield node.value.value
        is_error = isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error")
        pair = node.args if is_error else node.elts if isinstance(node, ast.Tuple) else ()
        if len(pair) == 2 and any(map(is_sentence, pair)):
            yield from (one.value for one in (pair if is_error else pair[:1]) if is_code(one))


def test_each_code_has_words() -> None:
    root = Path(__file__).parents[2] / "hubbleclip"
    found = {
        code
        for room in ROOMS
        for file in (root / room).rglob("*.py")
        for code in codes_in(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert {"calibration", "no_file", "covered", "html", "no_object"} <= found
    assert (found | SPLIT_CODES) - QUERY_CODES - set(REASON_WORDS) == set()
