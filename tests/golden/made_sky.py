"""An archive in memory, whose nights differ, and a diary of what stages ask it, write and report.

Hashes in a diary are numbered in the order in which they appear, so that it is the same for other bytes of equal meaning.
"""

import json
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import time_machine
from commands import files_below
from stages import observation, product, rejection
from valid_catalog import proposal

from hubbleclip.archives.base import Delivery, ObservationPage
from hubbleclip.catalog.catalog import Catalog, read_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.contracts.schema import tables
from hubbleclip.core.errors import DownloadError, HubbleclipError
from hubbleclip.core.io import sha256_bytes, write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Observation, Product, Proposal, Rejection
from hubbleclip.pipeline.engine import progress
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.pending_work import has_work
from hubbleclip.pipeline.status import read_status, status_lines

NOW = datetime(2030, 1, 10, 12, tzinfo=UTC)
"""Later than the times of all files, so that these are not hashed again."""
TODAY_MJD = 62511.5
COMMANDS = ("tiles", "captions", "shards")
HASH = re.compile(r"(?<![\w.])[0-9a-f]{16,64}\b")
MEASURED = re.compile(r"[\d.]+ (s|bytes|per second|min)\b")
UNSTABLE = [
    "size_bytes",
    "offset",
    "length",
    "corners_deg",
    "sky",
    "noise",
    "black",
    "white",
    "softening",
    "valid_share",
    "wcs",
    "duration_s",
]
"""Columns that depend on the codec, on rounding or on the machine."""


def fits_bytes(seed: int, width: int = 64, blank: int = 0) -> bytes:
    """An image with a star at a place of its own; the last columns are blank."""
    data_yx = np.random.default_rng(seed).integers(0, 21, (64, width)).astype(">f4")
    data_yx[24:40, 24:40] += 800
    data_yx[:, width - blank :] = np.nan
    words = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "INSTRUME": "WFC3", "DETECTOR": "UVIS", "FILTER": "F606W"}
    numbers = {"CRVAL1": 10.0 * seed, "CRVAL2": 2.0, "CRPIX1": 32.0, "CRPIX2": 32.0, "CDELT1": -1e-5, "CDELT2": 1e-5}
    cards = {"SIMPLE": "T", "BITPIX": -32, "NAXIS": 2, "NAXIS1": width, "NAXIS2": 64, **numbers, "NDRIZIM": 4}
    lines = [f"{name:8}= {value:>20}" for name, value in cards.items()]
    lines += [f"{name:8}= '{value:8}'" for name, value in words.items()]
    head = "".join(line.ljust(80) for line in [*lines, "END"]).encode()
    return b"".join(
        part.ljust(-(-len(part) // 2880) * 2880, fill) for part, fill in ((head, b" "), (data_yx.tobytes(), b"\0"))
    )


class Sky:
    """An archive of observations, each with at most one file; an error in place of a file is raised."""

    name, is_local = "hst", False

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.asked: list[str] = []
        self.rows: dict[str, Observation] = {}
        self.products: dict[str, Product] = {}
        self.files: dict[str, bytes | Exception] = {}
        self.proposals: dict[str, Proposal] = {}
        self.changed: tuple[list[str], list[str]] = [], []
        self.broken_after: int | None = None

    def add(self, name: str, number: str, day: float, file: bytes | Exception | None, **facts: Any) -> None:
        """Release an observation of a proposal, `day` days after the first night, with its file."""
        seen = observation(name, f"hst:{number}", sha256_bytes(name.encode())[:32])
        facts = {"released_mjd": TODAY_MJD + day, "archive": "hst", "target_name": f"T {number}"} | facts
        self.rows[name] = replace(seen, **facts)
        if file is not None:
            size = len(file) if isinstance(file, bytes) else None
            self.products[name] = product(name, "v1", proposal=f"hst:{number}", size_bytes=size)
            self.files[f"mast:{name}"] = file

    def publish(self, number: str, abstract: str | None) -> None:
        """Publish a proposal."""
        titled = {"title": f"Title of programme {number}", "abstract": abstract}
        self.proposals[number] = replace(proposal(number), **titled, fetched_at=NOW)

    def query_observations(self, since_mjd: float, until_mjd: float | None = None) -> Iterator[ObservationPage]:
        self.asked.append(f"observations of {since_mjd:.2f} to {until_mjd and round(until_mjd, 2)}")
        found = [one for one in self.rows.values() if since_mjd <= one.released_mjd <= (until_mjd or 1e6)]
        found.sort(key=lambda one: (one.released_mjd, one.obs_id))
        for start in range(0, len(found), 2):
            if start == self.broken_after:
                raise DownloadError("connection", "the answer ended")
            some = found[start : start + 2]
            known = [replace(one, fetched_at=datetime.now(UTC)) for one in some if one.proposal_id != "hst:unknown"]
            unknown = [
                rejection("observation", one.obs_id, "observations", "no_proposal")
                for one in some
                if one.proposal_id == "hst:unknown"
            ]
            yield ObservationPage(
                observations=known, rejections=unknown, num_rows=Counter(int(one.released_mjd) for one in some)
            )
            yield ObservationPage()

    def count_rows(self, since_mjd: float, until_mjd: float) -> int:
        self.asked.append(f"count of {since_mjd} to {until_mjd:.2f}")
        return sum(since_mjd <= one.released_mjd <= until_mjd for one in self.rows.values())

    def list_products(
        self, observations: Sequence[Observation], taken: Mapping[str, frozenset[str]] | None = None
    ) -> tuple[list[Product], list[Rejection]]:
        used = {key: sorted(names) for key, names in sorted((taken or {}).items())}
        self.asked.append(f"products of {[one.obs_id for one in observations]} beside {used}")
        chosen = [self.products[one.obs_id] for one in observations if one.obs_id in self.products]
        left = [one.obs_id for one in observations if one.obs_id not in self.products]
        return chosen, [rejection("observation", name, "products", "covered") for name in left]

    def renewed_files(self, products: Sequence[Product]) -> tuple[list[str], list[str]]:
        self.asked.append(f"ETags of {[one.uri for one in products]}")
        uris = {one.uri for one in products}
        renewed, unknown = ([uri for uri in some if uri in uris] for some in self.changed)
        return renewed, unknown

    def fetch_proposals(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        self.asked.append(f"proposals {list(numbers)}")
        missing = [
            rejection("proposal", f"hst:{one}", "proposals", "not_found")
            for one in numbers
            if one not in self.proposals
        ]
        found = [replace(self.proposals[one], fetched_at=datetime.now(UTC)) for one in numbers if one in self.proposals]
        return found, missing

    def fetch_product(self, product: Product, *, is_kept: bool = True) -> Delivery:
        self.asked.append(f"file {product.uri}")
        file = self.files[product.uri]
        if isinstance(file, Exception):
            raise file
        path = self.layout.product(sha256_bytes(file), product.file_name)
        write_bytes(path, file, is_synced=False)
        known = {"sha256": sha256_bytes(file), "size_bytes": len(file), "path": self.layout.relative(path)}
        facts = {"source": "mast", "etag": "e", "fetched_version": product.archive_version}
        return Delivery(replace(product, **known, **facts, fetched_at=datetime.now(UTC)))


@contextmanager
def patched() -> Iterator[pytest.MonkeyPatch]:
    """Changes for the time of a story, and log lines of the level INFO."""
    logger = logging.getLogger("hubbleclip")
    before = logger.level
    with pytest.MonkeyPatch.context() as patch:
        logger.setLevel(logging.INFO)
        patch.setattr(progress, "LOG_EVERY_S", math.inf)
        try:
            yield patch
        finally:
            logger.setLevel(before)


class Diary:
    """What the stages of a profile do, step by step; every step is at a time of its own."""

    def __init__(self, settings: Settings, sky: Sky, patch: pytest.MonkeyPatch) -> None:
        self.settings, self.sky = settings, sky
        self.log: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: self.log.append(MEASURED.sub(r"_ \1", record.getMessage()))  # type: ignore[method-assign]
        logger = logging.getLogger("hubbleclip")
        patch.setattr(logger, "handlers", [*logger.handlers, handler])
        self.layout = layout_of(settings)
        self.store = Path(self.layout.store.removeprefix("file://") or "/nowhere")
        self.found: dict[str, Any] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.files: set[str] = set()
        for module in ("ingest", "tiles"):
            patch.setattr(f"hubbleclip.pipeline.{module}.run.open_archive", self.open)
        self.flushed: set[int] = set()
        self.early: list[str] = []
        patch.setattr("os.fsync", lambda handle: self.flushed.add(os.fstat(handle).st_ino))
        write = Catalog.upsert
        patch.setattr(Catalog, "upsert", lambda catalog, rows: (self.check_files(rows), write(catalog, rows)))

    def open(self, archive: Any, fetch: Any, layout: Layout) -> Sky:
        self.sky.layout = layout
        self.sky.asked.append(f"open {archive.name} with {fetch.connections} connection")
        return self.sky

    def check_files(self, rows: Mapping[str, Any]) -> None:
        """Note the files that have rows before they are in the store, or flushed to the disk."""
        for one in [*rows.get("product", ()), *rows.get("tile", ()), *rows.get("dataset", ())]:
            if one.path and self.layout.store:
                is_kept = (self.store / one.path).exists()
            else:
                is_kept = not one.path or self.layout.absolute(one.path).stat().st_ino in self.flushed
            self.early += [] if is_kept else [one.path]

    def step(self, day: float, name: str, work: Callable[[], Any]) -> None:
        """Do the work of a step, some days after the first night, and write down what it has done."""
        place = f"{len({key.split(':')[0] for key in self.found}) + 1:02} {name}"
        for noted in (self.sky.asked, self.early, self.log):
            noted.clear()
        with time_machine.travel(NOW + timedelta(days=day), tick=False):
            try:
                result = work()
            except HubbleclipError as error:
                result = f"{type(error).__name__}: {error}"
            work_left = [one for one in COMMANDS if has_work(one, self.settings)]
            status = read_status(self.settings)
        told = {"asked": list(self.sky.asked), "log": list(self.log), "result": result, "work left": work_left}
        told["rows before their files"] = list(self.early)
        told |= {"status": [*status_lines(status)][4:], "pending": status.pending, "waiting": status.waiting}
        self.found |= {f"{place}: {key}": value for key, value in told.items()}
        before, self.rows = self.rows, self.read_rows()
        for key, row in self.rows.items():
            old = before.get(key, {})
            if changed := {column: value for column, value in row.items() if old.get(column) != value}:
                self.found[f"{place}: {key}"] = changed
        self.found |= {f"{place}: {key}": "deleted" for key in before.keys() - self.rows.keys()}
        before_files, self.files = self.files, {*self.read_files()}
        moved = [f"+ {one}" for one in self.files - before_files] + [f"- {one}" for one in before_files - self.files]
        self.found[f"{place}: files"] = moved

    def row(self, table: str, **values: Any) -> dict[str, Any]:
        """The row of a table with these values."""
        rows = (row for key, row in self.rows.items() if key.startswith(f"{table} "))
        return next(row for row in rows if values.items() <= row.items())

    def read_rows(self) -> dict[str, dict[str, Any]]:
        """Rows of the published catalog by table and key, without columns that are null or not stable."""
        found = {}
        with read_catalog(self.layout) as catalog:
            for name, table in tables().items():
                rows = catalog.rows(f'FROM "{name}"')
                for row in sorted(rows, key=lambda row: HASH.sub("", json.dumps(row, default=str, sort_keys=True))):
                    key = " ".join(str(row.pop(column)) for column in table.keys)
                    plain = {column: value for column, value in row.items() if value not in (None, [])}
                    found[f"{name} {key}"] = {
                        column: round(value, 6) if isinstance(value, float) else value
                        for column, value in plain.items()
                        if column not in UNSTABLE
                    }
        return found

    def read_files(self) -> Iterator[str]:
        """Files of the profile and of its store, but for the catalog and the caches."""
        for mark, root in {"": self.layout.root, "store ": self.store}.items():
            for path in files_below(root):
                if not path.name.startswith(("catalog.", "store.json")) and ".home" not in path.parts:
                    yield mark + path.relative_to(root).as_posix()

    def numbered(self) -> dict[str, Any]:
        """The diary with numbers in place of hashes."""
        numbers: dict[str, int] = {}
        text = json.dumps(self.found, default=str).replace(str(self.settings.data), "")
        found = json.loads(HASH.sub(lambda one: f"#{numbers.setdefault(one[0], len(numbers) + 1)}", text))
        return {key: sorted(value) if key.endswith(": files") else value for key, value in found.items()}
