"""The notebooks run against a small profile, and are committed without outputs."""

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from hubbleclip.config.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def test_there_is_one_on_search_and_one_on_the_dataset_and_the_docs_link_them() -> None:
    assert NAMES == ["dataset", "search"]
    for page, folder in ((ROOT / "README.md", "docs/notebooks"), (ROOT / "docs/notebooks.md", "notebooks")):
        for name in NAMES:
            assert f"({folder}/{name}.ipynb)" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_without_outputs(name: str) -> None:
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)


@pytest.fixture(scope="module")
def checkout(site: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout in which `make demo` has run: the notebooks, and the profile below `data`."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(FOLDER, root / "docs/notebooks")
    shutil.copytree(site.root, root / "data/demo")
    shutil.copytree(site.root.parent / "dataset", root / "data/demo/datasets")
    return root


def run(checkout: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Run a notebook; return what its cells show, by type of content."""
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(checkout / ".jupyter"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(checkout / f"docs/notebooks/{name}.ipynb", as_version=4)
    NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": checkout / "docs/notebooks"}},
    ).execute()  # an exception in a cell is raised here
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.slow
def test_the_notebook_on_search_shows_pictures(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = run(checkout, "search", monkeypatch)
    tables = [html for output in outputs if (html := output.get("data", {}).get("text/html"))]
    assert len(tables) == 3
    assert all(table.count("data:image/png;base64,") == 5 for table in tables)
    printed = "".join(output["text"] for output in outputs if output.output_type == "stream")
    assert "tiles pass the filters" in printed
    assert "6 tiles within 0.10 deg of NGC-" in printed


@pytest.mark.slow
def test_the_notebook_on_the_dataset_reads_shards_and_tiles(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = run(checkout, "dataset", monkeypatch)
    assert any("image/png" in output.get("data", {}) for output in outputs)
    plain = [output["data"]["text/plain"] for output in outputs if "data" in output]
    assert "{1}" in plain
    assert plain[-1] == "[(96, 96), (96, 96), (96, 96)]"
