"""What holds for a large image: its peak of memory."""

from __future__ import annotations

import numpy as np
import pytest
from memory import outcomes_of
from synthetic_fits import starry_sky, write_drz


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
    ((_, grown_kb),) = outcomes_of(small, large, size_px=256, views=("native", "overview"))
    assert 1024 * grown_kb <= 1.5 * data.nbytes
