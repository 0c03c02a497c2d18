"""What holds for a large image: its peak of memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_fits import starry_sky, write_drz

MEASURE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
from memory import peak_kb
from hubbleclip.images.tiling import tile_file
from hubbleclip.config.settings import TileSettings
settings = TileSettings(size_px=256, views=("native", "overview"))
peaks = []
for path in sys.argv[1:]:
    tile_file(Path(path), "ab" * 32, settings)
    peaks.append(peak_kb() * 1024)
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "primary", "extensions"),
    [("a_drz.fits", {"NDRIZIM": 4}, {"WHT": np.float32}), ("a_flc.fits", {"NDRIZIM": 0}, {"DQ": np.int16})],
)
def test_a_worker_takes_at_most_half_more_than_the_science_extension(tmp_path, name, primary, extensions):
    data = np.tile(starry_sky((1000, 1000)), (3, 3))
    data[:40] = data[:, :40] = 0
    others = {key: np.full(data.shape, key == "WHT", dtype) for key, dtype in extensions.items()}
    large = write_drz(tmp_path / name, data, primary=primary, **others)
    small = write_drz(tmp_path / f"small_{name}", data[:400, :400], primary=primary)
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), str(small), str(large)]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown <= 1.5 * data.nbytes
