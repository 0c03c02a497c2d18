"""Estimate of an ingest: time, files, tiles and disk, from the figures that a check measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.filesize import decimal

from hubbleclip.archives.check.probe import Measured
from hubbleclip.archives.http.client import LIMITS
from hubbleclip.archives.mast.client import OBSIDS_PER_REQUEST
from hubbleclip.config.settings import FetchSettings, TileSettings

KEPT_SHARE = 0.5
"""Share of the tiles of a grid that are kept. It is a guess, because the share depends on the images."""
REQUESTS_PER_PAGE = 2.5
"""Mean number of requests for a full page of rows: the request for the page, and requests that count the rows in
ranges of release dates.
"""
BYTES_PER_TILE = 128_000
"""Size (bytes) of a sample: a tile of 512 px, its record and its caption; measured by `benchmarks/bench_shards.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Estimate of the first ingest of a profile, and of its tiles.

    `fetched_bytes` is the size of all downloads, and `file_bytes` the size of the downloads that stay on the disk.
    `metadata_s` is the time (s) to request the tables of observations and products. `files_s` is the time (s) to
    download the files from the archive, and `copy_s` the time (s) to download them from its public copy.
    """

    num_observations: int
    num_files: int
    num_tiles: int
    fetched_bytes: float
    file_bytes: float
    tile_bytes: float
    metadata_s: float
    files_s: float
    copy_s: float | None = None


def estimate(measured: Measured, fetch: FetchSettings, tiles: TileSettings) -> Estimate | None:
    """Estimate the first ingest of a profile, within a factor of two; None if a figure is missing."""
    figures = measured.num_observations, measured.files_each, measured.file_bytes, measured.bytes_per_pixel
    times = measured.page, measured.latency_s, measured.list_s, measured.bytes_per_s
    if None in figures or None in times:
        return None
    num_observations, files_each, file_bytes, bytes_per_pixel = (float(figure or 0) for figure in figures)
    num_files, arriving = num_observations * files_each, num_observations * measured.bytes_each
    num_tiles = num_files * tiles_per_file(file_bytes / bytes_per_pixel, tiles)
    return Estimate(
        num_observations=round(num_observations),
        num_files=round(num_files),
        num_tiles=round(num_tiles),
        fetched_bytes=arriving,
        file_bytes=arriving if fetch.keep_fits else 0.0,
        tile_bytes=num_tiles * BYTES_PER_TILE * (tiles.size_px / 512) ** 2,
        metadata_s=metadata_s(num_observations, page_s(measured), measured.list_s or 0.0, fetch),
        files_s=files_s(arriving, num_files, measured.bytes_per_s, measured.wait_s, fetch),
        copy_s=files_s(arriving, num_files, copy, measured.wait_s, fetch)
        if (copy := measured.copy_bytes_per_s)
        else None,
    )


def files_s(
    num_bytes: float, num_files: float, bytes_per_s: float | None, wait_s: float, fetch: FetchSettings
) -> float:
    """Compute the time (s) to fetch files if each connection is as fast as the measured connection."""
    busy_s = num_bytes / (bytes_per_s or 1.0) + num_files * wait_s
    return max(busy_s / fetch.connections, num_files / fetch.requests_per_s)


def page_s(measured: Measured) -> float:
    """Estimate the time (s) of all requests for a full page of rows, from the time that a smaller page took."""
    num_rows, rows_s = measured.page or (0, 0.0)
    latency_s = min(measured.latency_s or 0.0, rows_s)
    return REQUESTS_PER_PAGE * latency_s + (rows_s - latency_s) * LIMITS.page_rows / max(num_rows, 1)


def metadata_s(num_observations: float, rows_s: float, list_s: float, fetch: FetchSettings) -> float:
    """Compute the time (s) to request all pages of observations in sequence, then all lists of products in parallel."""
    pages, lists = math.ceil(num_observations / LIMITS.page_rows), math.ceil(num_observations / OBSIDS_PER_REQUEST)
    shortest_s = 1 / fetch.requests_per_s
    return pages * max(rows_s, shortest_s) + lists * max(list_s / fetch.connections, shortest_s)


def tiles_per_file(num_pixels: float, tiles: TileSettings) -> float:
    """Estimate the number of tiles of a square image.

    The view `native` cuts a grid of tiles, of which `KEPT_SHARE` are kept. Each other view gives one tile.
    """
    grid = math.ceil(math.sqrt(num_pixels) / tiles.size_px) ** 2
    views = set(tiles.views)
    return (max(KEPT_SHARE * grid, 1.0) if "native" in views else 0.0) + len(views - {"native"})


def estimate_lines(estimated: Estimate) -> dict[str, str]:
    """Format an estimate."""
    copy = f', or {duration(estimated.copy_s)} with fetch.sources = ["s3", "mast"]' if estimated.copy_s else ""
    return {
        "observations": f"{estimated.num_observations:,}",
        "files": f"{estimated.num_files:,}, {decimal(round(estimated.fetched_bytes))} to fetch",
        "tiles": f"{estimated.num_tiles:,}",
        "time": f"{duration(estimated.metadata_s)} for metadata, {duration(estimated.files_s)} for files{copy}",
    }


def duration(seconds: float) -> str:
    """Format a time in seconds, minutes, hours or days."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
