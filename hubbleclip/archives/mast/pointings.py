"""Pointings: which observations of a proposal show the same field."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from hubbleclip.core.records import Observation
from hubbleclip.core.vectors import unit_vectors

POINTING_ARCSEC = 60.0
"""Observations whose centres are nearer than this show one field, because the fields of the wide cameras of Hubble are
130 to 200 arcseconds wide.
"""


def pointings_of(observations: Iterable[Observation]) -> list[int | str]:
    """Find the pointing of each observation of a proposal; a moving target is a pointing by its name.

    The first observation of a field is its centre, so that later observations change no pointing of earlier ones.
    """
    nearest = math.cos(math.radians(POINTING_ARCSEC / 3600))
    centres = np.empty((0, 3))
    labels: list[int | str] = []
    for item in observations:
        if item.is_moving or item.ra_deg is None or item.dec_deg is None:
            labels.append((item.target_name or "").upper())
            continue
        direction = unit_vectors(item.ra_deg, item.dec_deg)
        cosines = centres @ direction
        if len(cosines) == 0 or cosines.max() < nearest:
            centres, cosines = np.vstack([centres, direction]), np.append(cosines, 1.0)
        labels.append(int(cosines.argmax()))
    return labels
