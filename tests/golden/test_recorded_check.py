"""The findings and figures of a check of archives that are sound, odd and sick, compared with recorded ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubbleclip.archives.check.listing import FILTERED
from tests.archives.test_check import checked
from tests.bad_server import give
from tests.golden.plain import without
from tests.made_archive import RULE, MadeArchive, hst_archive, made_pins


def odd(world: MadeArchive) -> None:
    """What differs from a sound archive, and stops no ingest."""

    def edit(table: dict[str, Any], query: dict[str, Any]) -> None:
        row = {"calib_level": 4, "instrument_name": "WFC4", "proposal_id": None, "t_obs_release": None}
        changes = [{}, {"productType": "NEW"}, {"size": 10**10}] if query["service"].endswith("Products") else [row]
        for row, change in zip(table["data"], changes if query["pagesize"] > 1 else (), strict=False):
            row.update(change)

    world.edits.append(edit)
    world.file_headers = {}
    titles = "".join(f"{RULE}\nProp. Type: GO\nID:  {n}\nTitle: Title of {n}\n\n" for n in range(9))
    pages = {"program/?program=": give(b"<b>Title:</b> Another<br>"), "download/hst/apt/": give(b"", 404)}
    changed = {f"/hst-program-info/{path}": response for path, response in pages.items()}
    world.table = changed | world.table | {"/hst/abstracts.cat": give(titles.encode()), "/stpubdata/": give(b"", 403)}
    world.table["/portal/"] = give(json.dumps(dict.fromkeys(FILTERED)).encode())


def sick(world: MadeArchive) -> None:
    """What stops an ingest."""

    def edit(table: dict[str, Any], query: dict[str, Any]) -> None:
        for row in table["data"]:
            row.update(
                {"Column1": row["Column1"] + 1} if "Column1" in row else {"instrument_name": "COS/FUV", "objID": 1}
            )

    world.edits.append(edit)
    for row in world.products:
        row["size"] += 2880
    world.table = {"/hst-program-info/": give(b"", 403), **world.table, "/hst/abstracts.cat": give(b"", 404)}


def without_sizes(world: MadeArchive) -> None:
    for row in world.products:
        row["size"] = None


CASES: dict[str, Callable[[MadeArchive], None]] = {
    "sound": lambda _: None,
    "odd": odd,
    "sick": sick,
    "without_sizes": without_sizes,
}


@pytest.mark.parametrize("case", CASES)
def test_findings_and_figures_are_those_recorded(
    case: str, tmp_path: Path, compare_recorded: Callable[..., None]
) -> None:
    with hst_archive() as world:
        pins = made_pins(world)
        CASES[case](world)
        started = time.monotonic()
        report = checked(world.url, tmp_path, pins=pins, name="hst")
    figures, page = report.measured, report.measured.page or (0, 0.0)
    assert (figures.latency_s or 1e-4) < figures.total_s <= time.monotonic() - started
    found: dict[str, Any] = {one.what: [one.level.name, one.needed, one.found] for one in report.findings}
    found["figures"] = [figures.num_observations, page[0], figures.files_each, figures.bytes_each, figures.file_bytes]
    found |= {"order": list(found), "bytes per pixel": figures.bytes_per_pixel, "level": report.level.name}
    compare_recorded(f"check_{case}.json", without(found, (world.host, "HOST")))
