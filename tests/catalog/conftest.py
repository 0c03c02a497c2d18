"""Places of the tests of the catalog."""

from pathlib import Path

import pytest

from hubbleclip.core.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "it's")  # a quotation mark, which SQL must quote
