"""What `import hubbleclip` offers, the examples of docs/python.md, and the notebooks."""

import doctest
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from synthetic_fits import starry_sky, write_drz

import hubbleclip
from hubbleclip.config.settings import Settings
from hubbleclip.search.engine import Search

PAGE = (Path(__file__).parents[2] / "docs/python.md").read_text(encoding="utf-8")
HEAVY = {"astropy", "duckdb", "numpy", "open_clip", "prefect", "pyarrow", "pydantic", "scipy", "torch"}


def imported_after(code: str) -> set[str]:
    """Packages of `HEAVY` that a new Python has imported after `code`."""
    listing = f"{code}; import sys; print(*(name for name in {sorted(HEAVY)} if name in sys.modules))"
    return set(
        subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    )


def test_the_package_imports_nothing_heavy_until_search_is_used() -> None:
    assert imported_after("import hubbleclip; hubbleclip.__version__") == set()
    used = imported_after("from hubbleclip import Search; Search.open")
    assert "duckdb" in used
    assert not used & {"open_clip", "prefect", "torch"}  # a query loads the model, not the import


def test_the_package_offers_what_the_page_lists_and_no_other_name() -> None:
    assert hubbleclip.Search is Search
    assert set(dir(hubbleclip)) == set(hubbleclip.__all__)
    listed = set(re.findall(r"^\| `(\w+)", PAGE, re.MULTILINE))
    assert listed | {"__version__"} == set(hubbleclip.__all__) == set(hubbleclip.MODULES) | {"__version__"}
    assert all(getattr(hubbleclip, name).__name__ == name for name in listed)
    with pytest.raises(AttributeError, match="no attribute 'search_for'"):
        hubbleclip.search_for  # noqa: B018


def test_the_examples_of_the_page_give_what_they_show(
    site: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "data/demo"
    profile.mkdir(parents=True)
    for path in site.root.iterdir():
        (profile / path.name).symlink_to(path)
    (profile / "datasets").symlink_to(site.data / "dataset")
    write_drz(tmp_path / "image_drz.fits", starry_sky((224, 224)))
    monkeypatch.chdir(tmp_path)
    examples = "\n".join(re.findall(r"```pycon\n(.*?)```", PAGE, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(examples, {}, "python.md", "docs/python.md", 0)
    assert len(test.examples) > 10
    printed: list[str] = []
    assert doctest.DocTestRunner().run(test, out=printed.append).failed == 0, "".join(printed)


ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/notebooks"


@pytest.fixture(scope="module")
def checkout(site: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout in which `make demo` has run: the notebooks, and the profile below `data`."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(FOLDER, root / "docs/notebooks")
    shutil.copytree(site.root, root / "data/demo")
    shutil.copytree(site.root.parent / "dataset", root / "data/demo/datasets")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"), [("search", "6 tiles within 0.10 deg of NGC-"), ("dataset", "[(96, 96), (96, 96), (96, 96)]")]
)
def test_a_notebook_runs_and_shows_pictures(
    name: str, said: str, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(checkout / ".jupyter"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(checkout / f"docs/notebooks/{name}.ipynb", as_version=4)
    where = {"metadata": {"path": checkout / "docs/notebooks"}}
    NotebookClient(notebook, timeout=600, startup_timeout=300, kernel_name="python3", resources=where).execute()
    shown = json.dumps([cell.get("outputs") for cell in notebook.cells])  # an exception in a cell was raised
    assert (said in shown, "image/" in shown) == (True, True)
