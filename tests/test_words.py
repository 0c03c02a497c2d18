"""The texts are plain technical English: idioms that a reader would have to translate stay out.

`# words: ok` at the end of a line of code exempts that line.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from sources import CODE, ROOT, nodes_of

TEXTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "mkdocs.yml",
    "data_contracts/README.md",
    "docs/*.md",
    "experiments/*/README.md",
    "hubbleclip/evaluation/benchmarks/README.md",
)
EXEMPT = "# words: ok"
IDIOMS = {
    r"\btold\b": "said, given, reported, or the passive without it",
    r"\banew\b": "again, or rebuild, rewrite",
    r"\b(?:stand|stands|stood|standing) in\b": "is in, replaces",
    r"\bso many\b": "N, at most N",
    r"\b(?:go|goes|going|gone|went) on\b": "continue, resume",
    r"\b(?:leave|leaves|left|leaving) out\b": "reject, omit, exclude",
    r"\d[\w,.]* [a-z/]+ a second\b": "per second",
    r"\ba second(?=\s*(?:[.,;:)|]|$|over\b|by\b|per\b|for\b|at\b))": "per second, or 1 s",
}
FOUND = {re.compile(pattern, re.IGNORECASE | re.MULTILINE): better for pattern, better in IDIOMS.items()}


def idioms_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line number and the message of every idiom; one may run over the end of a line."""
    flat = re.sub(r"\s", lambda space: "\n" if space[0] == "\n" else " ", text)
    spaced = flat.replace("\n", " ")
    for pattern, better in FOUND.items():
        for match in pattern.finditer(spaced):
            yield flat.count("\n", 0, match.start()) + 1, f"{match[0]!r}: write {better}"


def texts_in(source: str, nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yield the first line number and the text of comments with idioms and of all strings, also f-strings."""
    if any(True for line in source.splitlines() for _ in idioms_in(line.partition("#")[2])):  # tokens take long
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def faults_of_code(source: str, nodes: Iterable[ast.AST]) -> list[str]:
    """Return one line per idiom in the comments, docstrings and strings of a Python source."""
    lines = source.splitlines()
    texts = texts_in(source, nodes)
    found = {(first + number - 1, message) for first, text in texts for number, message in idioms_in(text)}
    return [f"line {at}: {message}" for at, message in sorted(found) if not lines[at - 1].endswith(EXEMPT)]


@pytest.mark.parametrize("path", sorted({p for text in TEXTS for p in ROOT.glob(text)}), ids=lambda p: p.name)
def test_texts_have_no_idiom(path: Path) -> None:
    assert [f"line {at}: {said}" for at, said in idioms_in(path.read_text(encoding="utf-8"))] == []


def test_every_pattern_of_texts_has_files() -> None:
    assert [text for text in TEXTS if not list(ROOT.glob(text))] == []


def test_code_has_no_idiom() -> None:
    found = {str(p.relative_to(ROOT)): faults_of_code(p.read_text(encoding="utf-8"), nodes_of(p)) for p in CODE}
    assert {path: faults for path, faults in found.items() if faults} == {}


def test_comments_docstrings_and_strings_of_code_are_read_and_names_are_not() -> None:
    source = '"""It was told\nanew."""\ntold = 1  # goes on\nsaid = f"{told} left out"\nfine = "so many"  # words: ok\n'
    faults = faults_of_code(source, ast.walk(ast.parse(source)))
    assert [fault.partition(":")[0] for fault in faults] == ["line 1", "line 2", "line 3", "line 4"]


@pytest.mark.parametrize(
    ("text", "is_idiom"),
    [
        ("10 requests a second", True),
        ("three times a second.", True),
        ("it stands in the\nfolder", True),
        ("stood\nin", True),
        ("left out", True),
        ("at most so many", True),
        ("a second maintainer", False),
        ("10 requests per second", False),
        ("a second run", False),
        ("retold", False),
        ("leftover", False),
    ],
)
def test_idioms_are_found_and_plain_words_are_not(text: str, is_idiom: bool) -> None:
    assert bool(list(idioms_in(text))) is is_idiom
