"""Profiles for the tests of index and search; making one takes a training, so it is made once and copied."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from search_site import make_site, settings_of

from hubbleclip.config.settings import Settings
from hubbleclip.pipeline.index import index
from hubbleclip.search.engine import Search


@pytest.fixture(scope="session")
def made(made_once: Callable[..., Path]) -> Path:
    """Data folder of a profile that is not indexed."""
    return made_once("search-profile", make_site)


@pytest.fixture(scope="session")
def site(made: Path, made_once: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of an indexed profile, which no test changes."""

    def make(data: Path) -> None:
        index(settings_of(shutil.copytree(made, data)))

    return settings_of(shutil.copytree(made_once("indexed-profile", make), tmp_path_factory.mktemp("search") / "data"))


@pytest.fixture(scope="session")
def search(site: Settings) -> Search:
    return Search.open(site.root)


@pytest.fixture
def own_site(made: Path, tmp_path: Path) -> Settings:
    """Settings of a profile that is not indexed yet."""
    return settings_of(shutil.copytree(made, tmp_path / "data"))


@pytest.fixture
def own_index(site: Settings, tmp_path: Path) -> Settings:
    """Settings of an indexed profile of a test's own."""
    return settings_of(shutil.copytree(site.data, tmp_path / "data"))
