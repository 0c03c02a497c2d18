"""README and guides are true."""

import json
import re
from pathlib import Path

import pytest

from experiments.readme_figures import NUMBERS, SHORT
from experiments.running import replace_tables
from hubbleclip.cli.app import app
from hubbleclip.evaluation.report.model_card import score_table
from tools.try_package import first_example

FORGE = "../../"
"""Beginning of links to pages of the site that hosts the repository, which are relative to a file's page there."""
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = {
    path: path.read_text(encoding="utf-8")
    for path in (*sorted(ROOT.glob("*.md")), ROOT / "data_contracts/README.md", *sorted((ROOT / "docs").glob("*.md")))
}
MAX_WORDS = 700
TOLD = json.loads((ROOT / "docs/demo/metrics.json").read_text(encoding="utf-8"))


def value(model: str, name: str) -> dict:
    (found,) = [m for m in TOLD["metrics"] if (m["model"], m["name"]) == (model, name)]
    return found


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= MAX_WORDS


def test_numbers_are_those_of_the_demos_metrics() -> None:
    short = [one for one in TOLD["metrics"] if one["model"] in SHORT]
    for page, metrics in (("README.md", short), ("docs/quickstart.md", TOLD["metrics"])):
        text = GUIDES[ROOT / page]
        assert replace_tables(text, {NUMBERS: score_table(metrics)}) == text


def test_the_first_python_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(first_example())
    assert (tmp_path / "example.fits").stat().st_size > 1_000_000


def test_demo_reaches_its_bar_and_the_shuffled_baseline_chance() -> None:
    reached = value("fine_tuned", "i2t_accuracy_at_10pct")
    assert reached["value"] >= 0.75
    assert reached["low"] > 0.60
    shuffled = value("shuffled", "i2t_accuracy_at_10pct")
    assert shuffled["low"] <= value("random", "i2t_accuracy_at_10pct")["value"] <= shuffled["high"] < reached["low"]


def test_every_command_is_named() -> None:
    commands = [name for name in app if not name.startswith("-")]
    assert len(commands) > 10
    assert [name for name in commands if f"`{name}" not in README] == []


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {
        word for text in GUIDES.values() for word in re.findall(r"(?:`|^)make ([a-z]+)(?!\S*-)", text, re.MULTILINE)
    }
    assert len(asked) > 8
    assert asked <= targets


def test_every_test_that_is_named_exists() -> None:
    named = {name for text in GUIDES.values() for name in re.findall(r"\btest_\w+\.py", text)}
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(named) > 10
    assert named <= there


def test_pictures_of_the_readme_exist() -> None:
    pictures = [one for one in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README) if not one.startswith(FORGE)]
    assert len(pictures) == 2
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_links_lead_somewhere() -> None:
    links = [(path, link) for path, text in GUIDES.items() for link in re.findall(r"(?<!!)\[[^]]*\]\(([^)]+)\)", text)]
    ours = [
        (path.parent / link.partition("#")[0], link.partition("#")[2])
        for path, link in links
        if "://" not in link and not link.startswith(FORGE)
    ]
    assert len(ours) > 5
    assert [str(to) for to, _ in ours if not to.is_file()] == []
    assert [part for to, part in ours if part and part not in headings(to)] == []


def headings(path: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in found}
