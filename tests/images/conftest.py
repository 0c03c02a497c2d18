from __future__ import annotations

import pytest
from synthetic_fits import starry_sky


@pytest.fixture()
def sky():
    return starry_sky((560, 560))
