"""What `import hubbleclip` offers, the examples of docs/python.md, and an import of the package that costs nothing."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest
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
