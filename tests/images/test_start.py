"""What cutting tiles loads, in a process of its own: each library that it does not need costs every worker its start."""

from __future__ import annotations

import subprocess
import sys

import pytest
from synthetic_fits import starry_sky, write_drz

CUT = """
import sys
from pathlib import Path
from hubbleclip.images.tiling import tile_file
from hubbleclip.config.tiles import TileSettings
tiles = tile_file(Path(sys.argv[1]), "ab" * 32, TileSettings(size_px=256)).tiles
print(len(tiles), *sys.modules)
"""


@pytest.mark.slow
def test_cutting_loads_nothing_that_it_does_not_need(tmp_path):
    path = write_drz(tmp_path / "a_flt.fits", starry_sky((560, 560)), primary={"NDRIZIM": 0})
    answer = subprocess.run([sys.executable, "-c", CUT, path], capture_output=True, text=True, check=True).stdout
    num_tiles, *loaded = answer.split()
    assert int(num_tiles) == 5
    unwanted = {"pydantic_settings", "pyarrow", "pandas", "torch", "matplotlib"}
    assert not unwanted.intersection(loaded)
