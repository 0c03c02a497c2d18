"""The documentation is complete: every command, setting, module, table and path that it should have, and no other."""

import importlib
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from cyclopts.exceptions import CycloptsError, MissingArgumentError

import hubbleclip

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TEXTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "data_contracts/README.md",
    *sorted(DOCS.glob("*.md")),
    *sorted(ROOT.glob("experiments/*/README.md")),
]
NOUNS = {"mission", "archive", "catalog", "embedding", "index", "hit"}
"""Terms beside the names of the tables."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands() -> list[str]:
    """Commands of the command line, which pyproject.toml names."""
    script = tomllib.loads(text_of("pyproject.toml"))["project"]["scripts"]["hubbleclip"]
    return [name for name in importlib.import_module(script.partition(":")[0]).app if not name.startswith("-")]


def first_cells(page: str) -> str:
    """The first column of all tables of a page."""
    return "\n".join(re.findall(r"^\| ([^|]*)\|", text_of(page), re.MULTILINE))


def test_every_command_is_described() -> None:
    named = re.findall(r"`([a-z-]+)", first_cells("docs/commands.md"))
    assert len(named) > 10
    assert set(commands()) - set(named) == set()


def test_the_command_line_is_a_module_for_torchrun() -> None:
    assert "-m hubbleclip.cli train" in text_of("docs/scaling.md")
    assert importlib.util.find_spec("hubbleclip.cli.__main__")


def test_every_section_of_the_settings_is_described() -> None:
    sections = {name for name, value in tomllib.loads(text_of("hubbleclip.toml")).items() if isinstance(value, dict)}
    named = set(re.findall(r"`([a-z]+)`", first_cells("docs/settings.md")))
    assert len(sections) > 8
    assert sections - named == set()
    assert '--8<-- "hubbleclip.toml"' in text_of("docs/settings.md")


def test_every_profile_is_described() -> None:
    profiles = {path.stem for path in (ROOT / "hubbleclip").rglob("profiles/*.toml")}
    for page in ("docs/settings.md", "README.md"):
        assert profiles - set(re.findall(r"`([a-z0-9]+)`", first_cells(page))) == set()


def test_the_navigation_has_every_page_once() -> None:
    navigation = yaml.safe_load(text_of("mkdocs.yml"))["nav"]
    named = re.findall(r"[\w-]+\.md", str(navigation))
    assert sorted(named) == sorted(path.name for path in DOCS.glob("*.md"))


def test_the_site_loads_nothing_from_other_servers() -> None:
    config = yaml.safe_load(text_of("mkdocs.yml"))
    assert config["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript", "repo_url"} & set(config)
    assert not any("mermaid" in path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))


def test_every_noun_and_every_table_is_in_the_glossary() -> None:
    terms = {cell.strip().lower() for cell in first_cells("docs/glossary.md").splitlines()}
    contracts = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob("data_contracts/*.odcs.yaml")]
    tables = {table["name"].replace("_", " ") for contract in contracts for table in contract["schema"]}
    assert len(tables) > 10
    assert (NOUNS | tables) - terms == set()


def test_the_drawing_is_whole_and_needs_no_other_file() -> None:
    drawing = text_of("docs/architecture.svg")
    names = set(re.findall(r'class="name"[^>]*>([^<]+)<', drawing))
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert not re.search(r"(href|src)=|@import|url\((?!#)", drawing)
    assert names >= {"Archive", "Observations", "Proposals", "Products", "Tiles", "Catalog", "Samples", "Shards"}
    assert names >= {"Run", "Report", "Search"}


def test_a_release_has_one_version_and_one_placeholder() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    assert project["version"] == hubbleclip.__version__ == yaml.safe_load(text_of("CITATION.cff"))["version"]
    assert {author["name"] for author in project["authors"]} <= set(re.findall(r"name: (.+)", text_of("CITATION.cff")))
    assert "github.com/OWNER" in text_of("docs/owner.md") and "github.com/OWNER/" in project["urls"]["Repository"]


def test_the_image_copies_what_exists_and_asks_an_address_that_the_search_has() -> None:
    image = text_of("Dockerfile")
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", image, re.MULTILINE) for name in line.split()]
    assert len(copied) > 5
    assert "offline" in re.findall(r"\.\[(.+)\]", image)[0].split(",")  # its profile `siglip2` needs transformers
    assert [name for name in copied if not (ROOT / name).exists()] == []
    (asked,) = re.findall(r"127\.0\.0\.1:8765(/\w+)", image)
    assert f'"{asked}"' in text_of("hubbleclip/search/server/application.py")


def test_a_release_is_installed_with_the_lowest_and_the_newest_versions() -> None:
    """An entry of `include` changes the combinations that have its values, and overwrites the entry before it."""
    jobs = yaml.safe_load(text_of(".github/workflows/release.yml"))["jobs"]
    matrix = jobs["install"]["strategy"]["matrix"]
    included = {one["versions"]: one["python"] for one in matrix["include"]}
    assert matrix["versions"] == list(included) == ["lowest", "newest"]
    assert included["lowest"] == tomllib.loads(text_of("pyproject.toml"))["project"]["requires-python"].lstrip(">=")


def test_workflows_run_what_exists() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / ".github/workflows").glob("*.yml")]
    targets = {word for text in texts for word in re.findall(r"run: make ([a-z-]+)", text)}
    modules = {word for text in texts for word in re.findall(r"python -m (tools\.\w+)", text)}
    assert targets <= set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE)), targets
    assert modules and all(importlib.util.find_spec(name) for name in modules)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_paths_of_code_exist(path: Path) -> None:
    found = re.findall(
        r"`((?:hubbleclip|flows|tests|experiments|benchmarks|data_contracts|docs)/[\w./-]+)`",
        path.read_text(encoding="utf-8"),
    )
    assert [name for name in found if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", [*TEXTS, ROOT / "SECURITY.md"], ids=lambda path: path.name)
def test_documented_commands_are_those_of_the_command_line(path: Path) -> None:
    """The line of each command is parsed; a name alone may lack the arguments of its command."""
    app = importlib.import_module("hubbleclip.cli.app").app
    text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))
    code = re.findall(r"^```\w*\n(.*?)^```|`(hubbleclip [^`]+)`", text, re.MULTILINE | re.DOTALL)
    wrong: list[str] = []
    for line in re.findall(
        r"^ *(?:.*&& |\.venv/bin/)?hubbleclip ([^#\n]+)", "\n".join(map("".join, code)), re.MULTILINE
    ):
        words = shlex.split(re.split(r" (?:&&|\||;|>|2>)", line)[0].replace("[", "").replace("]", ""))
        try:
            app.parse_args([word for word in words if word != "COMMAND"], exit_on_error=False, print_error=False)
        except CycloptsError as error:
            if len(words) > 1 or not isinstance(error, MissingArgumentError):
                wrong.append(f"{line}: {error}")
    assert wrong == []
