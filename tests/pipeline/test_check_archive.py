"""The check of an archive before the first ingest of a profile, and as a command."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stages import NOW

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.cli.app import main
from hubbleclip.config.settings import Settings, SimulatorSettings, read_settings
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Watermark
from hubbleclip.pipeline.check_archive import check_before_first
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.simulator.server.launcher import running_simulator
from tests.faulty_archive.archive import running_archive
from tests.faulty_archive.plan import FaultPlan, FaultRule

SKY = SimulatorSettings(num_proposals=12, frame_px=96)
SMALL = ("--set=simulator.num_proposals=12", "--set=simulator.frame_px=96")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_simulator(SKY) as address:
        yield address


def settings_at(url: str, data: Path, **archive: object) -> Settings:
    """Settings of the profile hubble, whose archive is served at a URL."""
    values = {"name": "hst", "mast_url": url, **archive}
    return read_settings("hubble", {"data": str(data), "archive": values, "fetch": {"requests_per_s": 1000}})


def check_first(settings: Settings, *marks: Watermark) -> None:
    layout = Layout(settings.root)
    with writing_catalog(layout) as catalog:
        catalog.upsert({"watermark": list(marks)})
        stage = Stage(name="ingest", settings=settings, layout=layout, catalog=catalog)
        check_before_first(stage)


def test_the_first_ingest_of_a_mission_ends_at_an_archive_that_does_not_answer_as_needed(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The simulated archive has no observations in the dates of the mission's pins."""
    caplog.set_level("INFO")
    mark = Watermark(archive="hst", query_digest="1" * 16, released_mjd=60000.0, updated_at=NOW)
    with pytest.raises(ArchiveError, match=r"failed some checks \(counts\)"):
        check_first(settings_at(url, tmp_path / "first"), replace(mark, archive="jwst"))
    *wrong, counted = (line for line in caplog.messages if line.startswith("check-archive: "))
    num_right, num = map(int, re.findall(r"\d+", counted)[:2])
    assert num - num_right == len(wrong) > 0 and {" counts stops", " APT file differs"} <= {
        line.split(":")[1] for line in wrong
    }
    check_first(settings_at(url, tmp_path, check_first=False))
    check_first(settings_at(url, tmp_path, from_raw=True))
    check_first(settings_at(url, tmp_path), mark)


def run_command(*words: str, data: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["check-archive", "--data", str(data), *SMALL, *words])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_the_command_prints_a_table_and_an_estimate(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = run_command(f"--set=archive.mast_url={url}", f"--keep={tmp_path}/kept", data=tmp_path, capsys=capsys)
    assert code == 0 and list((tmp_path / "kept").iterdir())
    assert all(word in out for word in ("what", "needed", "found", "programme page", "per second and connection"))
    assert all(name in out for name in ("files  ", "tiles  ", "disk  ", "time  "))
    other = ("--profile=hubble", f"--set=archive.mast_url={url}")  # an archive with other observations
    for words, said in (((), "stops"), (("--json",), '"level": "stops"')):
        code, out = run_command(*other, *words, data=tmp_path, capsys=capsys)
        assert code == 2 and said in out


@pytest.mark.slow
def test_the_exit_code_is_1_if_the_archive_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = FaultPlan(rules=(FaultRule(kind="html", path="/search/"),))
    with running_archive(SKY, plan) as url:
        code, out = run_command("--json", f"--set=archive.mast_url={url}", data=tmp_path, capsys=capsys)
    report = json.loads(out)
    assert (code, report["level"]) == (1, "differs")
    assert [one["what"] for one in report["findings"] if one["level"] != "ok"] == ["search API"]
    assert report["estimate"]["num_files"] > 0
