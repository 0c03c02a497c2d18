"""A whole pipeline on a small simulated archive that is run again does nothing."""

import shutil
from pathlib import Path

import pytest
from commands import SMALL, Rows, read_rows, run

pytestmark = pytest.mark.slow

RUN_TABLES = {"run", "checkpoint", "metric", "report", "promotion"}


def rows(data: Path, profile: str = "demo") -> Rows:
    """All rows of the tables that a dataset is made of."""
    return read_rows(data / profile, *RUN_TABLES)


NEVER_AGAIN = SMALL | {"archive.relist_days": 0}
"""No list of products falls due when a day ends between two tests."""


@pytest.fixture(scope="module")
def undisturbed(finished_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(finished_demo, tmp_path_factory.mktemp("undisturbed") / "data")


def test_second_run_does_nothing(undisturbed: Path) -> None:
    data = undisturbed
    files = {path: path.stat().st_mtime_ns for path in (data / "demo").rglob("*.[ptf]*") if ".home" not in path.parts}
    before = rows(data)
    recorded = (data / ".prefect/prefect.db").stat().st_mtime_ns
    outcome = run("pipeline", data=data, settings=NEVER_AGAIN)
    assert outcome.code == 0, outcome.err
    assert "pipeline: nothing to do" in outcome.err
    assert {path.name for path in (data / "demo/reports").glob("*/*.*")} == {"index.html", "metrics.json"}
    assert (data / ".prefect/prefect.db").stat().st_mtime_ns == recorded  # no server was started
    assert rows(data) == before
    assert {path: path.stat().st_mtime_ns for path in files} == files
