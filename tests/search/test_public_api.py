"""`from hubbleclip import Search`, and an import of the package that costs nothing."""

import base64
import io
import re
import subprocess
import sys

import pytest
from astropy.table import Table
from PIL import Image

import hubbleclip
from hubbleclip.config.settings import Settings
from hubbleclip.search.engine import Search

HEAVY = {"astropy", "duckdb", "lancedb", "numpy", "open_clip", "prefect", "pyarrow", "pydantic", "scipy", "torch"}


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


def test_the_package_has_the_search_and_no_other_name() -> None:
    assert hubbleclip.Search is Search
    assert {"Search", "__version__"} == set(hubbleclip.__all__)
    with pytest.raises(AttributeError, match="no attribute 'search_for'"):
        hubbleclip.search_for  # noqa: B018


def test_a_search_gives_an_astropy_table_that_shows_its_pictures_as_html(site: Settings) -> None:
    table = hubbleclip.Search.open(str(site.root)).text("spiral galaxy", k=5)
    assert isinstance(table, Table)
    assert len(table) == 5
    assert table.colnames[:2] == ["picture", "tile_id"]
    shown = re.findall(r'<img alt="tile (\w+)" src="data:image/png;base64,([^"]+)">', table._repr_html_())
    assert [tile_id for tile_id, _ in shown] == list(table["tile_id"])
    with Image.open(io.BytesIO(base64.b64decode(shown[0][1]))) as picture:
        assert max(picture.size) > 32
