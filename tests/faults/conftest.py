"""One Prefect server for all tests of this folder."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def prefect() -> Iterator[str]:
    """Address of the Prefect server."""
    from prefect.settings import (  # here, because the import of a server takes seconds
        PREFECT_API_URL,
        PREFECT_LOGGING_TO_API_ENABLED,
        PREFECT_SERVER_ANALYTICS_ENABLED,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    importlib.import_module("astroquery.mast")  # takes seconds, which must not count as part of a run
    quiet = {PREFECT_SERVER_ANALYTICS_ENABLED: False, PREFECT_LOGGING_TO_API_ENABLED: False}
    with temporary_settings(quiet), prefect_test_harness(server_startup_timeout=200):
        yield PREFECT_API_URL.value()
