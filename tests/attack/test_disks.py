"""Attacks by a bad disk: flipped bytes, lost files, and an archive that is down when they are noticed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.core.errors import ArchiveError
from hubbleclip.dataset.verify import verify_dataset
from hubbleclip.pipeline.dataset import dataset
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.ingest.run import ingest
from hubbleclip.pipeline.pending_work import newest_dataset
from hubbleclip.simulator.server.launcher import running_simulator
from tests.attack.table import Attacks
from tests.pipeline.test_repairs import SKY, flip, newest_inputs, settings_at

pytestmark = [pytest.mark.nightly, pytest.mark.attack]


def after_damage(kind: str, data: str, url: str) -> str:
    """Flip a byte in every fifth product or tile, build the dataset twice, and describe the result."""
    settings = settings_at(Path(data), url)
    layout = layout_of(settings)
    if kind == "tile":
        dataset(settings)
        shutil.rmtree(layout.datasets)
    with read_catalog(layout) as catalog:
        paths = [row["path"] for row in catalog.rows(f"SELECT path FROM {kind} ORDER BY path")][::5]
    for path in paths:
        flip(layout.absolute(path))
    for _ in range(2):
        dataset(settings)
    verify_dataset(newest_dataset(layout))
    return f"{len(paths)} came back, inputs {newest_inputs(settings)}"


def while_down(data: str, url: str) -> str:
    """Build the dataset of an archive that no longer answers."""
    settings = settings_at(Path(data), url)
    try:
        dataset(settings)
    except ArchiveError as error:
        return f"{verify_dataset(newest_dataset(layout_of(settings))).manifest.num_rows} samples, then: {error}"
    return "no error"


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with running_simulator(SKY) as url:
        yield url


def test_damaged_files_come_back(site: str, tmp_path: Path, attacks: Attacks) -> None:
    ingest(settings_at(tmp_path / "whole", site))
    outcomes = []
    for kind in ("product", "tile"):
        data = shutil.copytree(tmp_path / "whole", tmp_path / kind)
        outcomes.append(attacks.call(f"every fifth {kind} is flipped", after_damage, kind, data, site, deadline_s=200))
        assert "came back" in outcomes[-1]
    assert len({outcome.partition("inputs ")[2] for outcome in outcomes}) == 1


def test_an_archive_that_is_down_holds_up_nothing(tmp_path: Path, attacks: Attacks) -> None:
    with running_simulator(SKY) as url:
        ingest(settings_at(tmp_path, url))
    outcome = attacks.call("the archive goes down after the fetch", while_down, tmp_path, url, deadline_s=200)
    assert "samples, then: cannot reach" in outcome
