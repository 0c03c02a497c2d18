"""MkDocs hook: writes the API reference, one page per package of `hubbleclip`, and adds it to the navigation.

The pages are made from the packages on the disk, so a module that moves needs no change here. `ROOMS` gives the order
of the pages, which is the order of the import layers (docs/architecture.md). Every module must be in a room.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hubbleclip"
TITLE = "API reference"
ROOMS = (
    "core",
    "config",
    "contracts",
    "catalog",
    "fits",
    "missions",
    "archives",
    "images",
    "captions",
    "dataset",
    "training",
    "evaluation",
    "search",
    "simulator",
    "pipeline",
    "cli",
)


def rooms() -> list[Path]:
    """Return the packages directly below `hubbleclip`, in the order of `ROOMS`."""
    found = [path.parent for path in PACKAGE.glob("*/__init__.py")]
    return sorted(found, key=lambda path: (ROOMS.index(path.name) if path.name in ROOMS else len(ROOMS), path.name))


def modules_of(folder: Path) -> Iterator[str]:
    """Yield the dotted names of the public modules of a package and of its subpackages."""
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not any(part.startswith("_") for part in parts):
            yield ".".join(parts)


def pages() -> dict[str, list[str]]:
    """Return the modules of every page by the page's name; `hubbleclip` has the modules that are in no package."""
    found = {path.name: list(modules_of(path)) for path in rooms()}
    top = [f"hubbleclip.{path.stem}" for path in sorted(PACKAGE.glob("[!_]*.py"))]
    return ({"hubbleclip": top} if top else {}) | {name: modules for name, modules in found.items() if modules}


def page_text(name: str, modules: list[str]) -> str:
    """Return the Markdown of one page: a heading, then one mkdocstrings block per module."""
    title = name if name == PACKAGE.name else f"{PACKAGE.name}.{name}"
    return "\n".join([f"# {title}", "", *(f"::: {module}\n" for module in modules)])


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages to the navigation, in the section `API reference`."""
    section = {TITLE: [{name: f"reference/{name}.md"} for name in pages()]}
    config.nav = [*(config.nav or []), section]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the files of the site."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the tests import this module without MkDocs

    for name, modules in pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=page_text(name, modules)))
    return files
