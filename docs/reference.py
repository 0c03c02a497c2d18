"""MkDocs hook: writes the API reference, one page per group of public names, and adds it to the navigation.

The names are those that users call and that extenders implement; tests/test_docstrings.py asks for their sections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

TITLE = "API reference"
PUBLIC = {
    "use": [
        "hubbleclip.dataset.manifest.read_dataset",
        "hubbleclip.dataset.manifest.DatasetInfo",
        "hubbleclip.catalog.catalog.open_catalog",
        "hubbleclip.catalog.catalog.Catalog",
        "hubbleclip.search.engine.Search",
        "hubbleclip.training.models.trained_model.load_model",
        "hubbleclip.training.models.trained_model.TrainedModel",
        "hubbleclip.images.tiling.tile_file",
        "hubbleclip.simulator.observations.example_file",
        "hubbleclip.images.tiling.CutResult",
        "hubbleclip.images.tiling.CutTile",
        "hubbleclip.images.tiling.TileRejection",
    ],
    "extend": [
        "hubbleclip.missions.base.Mission",
        "hubbleclip.archives.base.Archive",
        "hubbleclip.captions.backends.base.Backend",
        "hubbleclip.images.stretch.Stretch",
        "hubbleclip.images.stretch.StretchKind",
        "hubbleclip.training.losses.Loss",
        "hubbleclip.training.models.builder.LoadedModel",
        "hubbleclip.search.stores.base.VectorStore",
        "hubbleclip.simulator.objects.view.ObjectRenderer",
    ],
    "records": ["hubbleclip.core.records"],
    "settings": [f"hubbleclip.config.{name}" for name in ("settings", "ingest", "tiles", "captions", "model")],
}
"""Dotted names of classes, functions and modules, by page."""


def page_text(name: str) -> str:
    """Return the Markdown of one page: a heading, then one mkdocstrings block per name."""
    return "\n".join([f"# {name.capitalize()}", "", *(f"::: {one}\n" for one in PUBLIC[name])])


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages to the navigation."""
    section = {TITLE: [{name.capitalize(): f"reference/{name}.md"} for name in PUBLIC]}
    config.nav = [*(config.nav or []), section]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the files of the site."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the tests import this module without MkDocs

    for name in PUBLIC:
        files.append(File.generated(config, f"reference/{name}.md", content=page_text(name)))
    return files
