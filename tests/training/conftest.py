"""Datasets that the tests of this folder share."""

from pathlib import Path

import pytest
from squares_dataset import make_dataset

from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.dataset.reader import SplitTiles, open_split


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> SplitTiles:
    """Tiles of four groups for validation."""
    return open_split(read_dataset(make_dataset(tmp_path_factory.mktemp("datasets"), num_groups=20)), "val")
