"""Cost of the whole archive: cost per item, as the other benchmarks measured it, times the number of items.

The catalog's size is measured on synthetic rows; fetching, cutting and deleting files on a bounded disk is simulated
file by file. The table between the markers of `docs/scaling.md` is replaced, so that no figure is typed by hand.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from benchmarks.measure import QUICK, RESULTS, ROOT, progress, sized
from benchmarks.synthetic_catalog import make_catalog_rows
from hubbleclip.archives.http.client import LIMITS
from hubbleclip.archives.mast.client import OBSIDS_PER_REQUEST
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import ArchiveSettings, FetchSettings, ShardSettings, TileSettings
from hubbleclip.core.layout import Layout

PAGE = ROOT / "docs/scaling.md"
BEGIN, END = "<!-- figures: python -m benchmarks.bench_scaling -->\n", "<!-- end of figures -->\n"
HOUR_S, DAY_S, MB, GB, TB = 3600, 86_400, 1e6, 1e9, 1e12
SYNTHETIC_OBSERVATIONS = sized(10_000, 500)

Costs = Mapping[tuple[str, str, str], float]
"""Medians of the benchmarks by stage, name and unit; the worst if a name occurs twice."""


class Archive(NamedTuple):
    """Assumptions that cannot be measured here; `docs/scaling.md` gives the reasons."""

    num_observations: int = 1_700_000
    size_bytes: float = 100 * TB
    bytes_per_pixel: float = 12.0
    size_sigma: float = 1.0  # of the logarithm of file sizes
    kept_share: float = 0.5
    epochs: int = 32
    flop_per_sample: float = 3 * 41e9  # forward and backward pass of ViT-B/16
    gpu_flops: float = 0.35 * 989e12  # 35 % of the peak of an H100 in bfloat16


class Line(NamedTuple):
    """A line of the table: `hours` of one machine; `is_sum` if they combine other lines or come after the dataset."""

    step: str
    amount: str
    source: str
    hours: float | None = None
    is_sum: bool = False


def read_costs(folder: Path = RESULTS) -> dict[tuple[str, str, str], float]:
    """Read the result files, see `Costs`."""
    costs: dict[tuple[str, str, str], float] = {}
    for path in sorted(folder.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            key = path.stem, row["name"], row["unit"]
            costs[key] = min(row["ours"], costs.get(key, row["ours"]))
    return costs


def catalog_bytes(tiles_per_observation: int, num_observations: int = SYNTHETIC_OBSERVATIONS) -> float:
    """Measure the bytes of a catalog per observation, all tables included."""
    with TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
        layout = Layout(Path(folder))
        num_tiles = num_observations * tiles_per_observation
        rows = make_catalog_rows(num_observations, num_tiles, layout.root, TileSettings().digest())
        with writing_catalog(layout) as catalog:
            catalog.upsert(rows)
        return layout.catalog.stat().st_size / num_observations


def simulate_fetch(
    archive: Archive, fetch: FetchSettings, bytes_per_s: float, cut_bytes_per_s: float
) -> tuple[float, float]:
    """Simulate fetching, cutting and deleting all files; return the seconds and the most bytes on the disk.

    Each connection has an equal share of the line and works on one file at a time; requests wait for the rate limit; a
    file is on the disk from its first byte until it is cut.
    """
    mean = archive.size_bytes / archive.num_observations
    rng = np.random.default_rng(1)
    # the mean of a log-normal is exp(mu + sigma^2 / 2)
    sizes = rng.lognormal(np.log(mean) - archive.size_sigma**2 / 2, archive.size_sigma, archive.num_observations)
    # larger files are rejected by the pipeline: they cost at most the limit
    sizes = np.minimum(sizes, ArchiveSettings().max_product_mb * MB)
    free = [(0.0, 0.0)] * fetch.connections  # heap of (second at which a connection is free, bytes it then deletes)
    now = turn = on_disk = most = 0.0
    for size in sizes:
        now, deleted = heapq.heappop(free)
        on_disk += size - deleted
        most = max(most, on_disk)
        turn = max(turn + 1 / fetch.requests_per_s, now)
        heapq.heappush(free, (turn + size * fetch.connections / bytes_per_s + size / cut_bytes_per_s, size))
    return max(end for end, _ in free), most


def lines(costs: Costs, archive: Archive, bytes_per_observation: float) -> Iterator[Line]:
    """Yield the lines of the table: metadata, files, tiles, training."""
    yield from _metadata_lines(costs, archive, bytes_per_observation)
    yield from _file_lines(costs, archive)
    yield from _tile_lines(costs, num_tiles(archive))
    yield from _training_lines(costs, archive, archive.epochs * num_tiles(archive))


def num_pixels(archive: Archive) -> float:
    """Estimate the pixels of all images."""
    return archive.size_bytes / archive.bytes_per_pixel


def num_tiles(archive: Archive) -> float:
    """Estimate the tiles that are kept of all grids, and one overview per file."""
    return num_pixels(archive) / TileSettings().size_px ** 2 * archive.kept_share + archive.num_observations


def _metadata_lines(costs: Costs, archive: Archive, bytes_per_observation: float) -> Iterator[Line]:
    num, rate = archive.num_observations, FetchSettings().requests_per_s
    pages, lists = -(-num // LIMITS.page_rows), -(-num // OBSIDS_PER_REQUEST)
    requests, name = num + pages + lists, "ingest, 10,000 observations"
    each = f"{bytes_per_observation / 1e3:.1f} kB per observation with its tiles, measured on synthetic rows"
    words = f"{requests / 1e6:.2f} M: {pages:,} pages, {lists:,} lists, the files"
    yield Line(
        "metadata", f"{num / 1e6:.1f} M observations", f"`{name}`", costs["ingest", name, "s"] * num / 1e4 / HOUR_S
    )
    yield Line("catalog", f"{num * bytes_per_observation / GB:.1f} GB of DuckDB", each)
    yield Line("requests at MAST", words, f"`fetch.requests_per_s`, {rate:g}", requests / rate / HOUR_S)


def _file_lines(costs: Costs, archive: Archive) -> Iterator[Line]:
    fetch, size = FetchSettings(), archive.size_bytes
    line = costs["fetch", "fetch, 50 ms away", "MB/s"] * MB
    cut = costs["tiles", "16 files, two processes", "Mpix/s"] / 2 * MB * archive.bytes_per_pixel
    words = f"{num_pixels(archive) / 1e12:.1f} Tpixel, {num_tiles(archive) / 1e6:.0f} M tiles"
    wall_s, most = simulate_fetch(archive, fetch, line, cut)
    amount = f"{size / TB:.0f} TB at {line / MB:.0f} MB/s"
    yield Line("bytes over the line", amount, "`fetch, 50 ms away`", size / line / HOUR_S)
    yield Line("cutting, one core", words, "`16 files, two processes`, half of it", size / cut / HOUR_S)
    amount, way = f"at most {most / GB:.1f} GB of files on the disk", f"simulated, {fetch.connections} connections"
    yield Line("fetch, cut and delete together", amount, way, wall_s / HOUR_S, is_sum=True)


def _tile_lines(costs: Costs, tiles: float) -> Iterator[Line]:
    packing = next(name for _, name, _ in costs if re.match(r"[\d,]+ tiles of 512 px", name))
    write = "write 1,000,000 tile rows"
    publish = next(name for _, name, _ in costs if name.startswith("publish a snapshot of 1,000,000 tiles"))
    samples_s, most = costs["shards", packing, "samples/s"], ShardSettings().max_mb
    each = costs["shards", packing, "MB/s"] * MB / samples_s
    publish_s = costs["catalog", publish, "s"] * tiles / 1e6
    rows_s = costs["catalog", write, "rows/s"]
    yield Line("rows of tiles", f"{tiles / 1e6:.0f} M", f"`{write}`", tiles / rows_s / HOUR_S)
    yield Line("publishing the catalog", f"{publish_s:.0f} s each time", f"`{publish}`")
    yield Line("tiles", f"{tiles * each / TB:.1f} TB", f"`{packing}`: {each / 1e3:.0f} kB per sample")
    yield Line("shards", f"{tiles * each / most / MB:,.0f} of {most} MB", f"`{packing}`", tiles / samples_s / HOUR_S)


def _training_lines(costs: Costs, archive: Archive, samples: float) -> Iterator[Line]:
    gpu_s, name = samples * archive.flop_per_sample / archive.gpu_flops, "loading 512 px grey, 2 workers"
    load_s, words = samples / (costs["shards", name, "samples/s"] / 2), f"{archive.epochs} epochs of ViT-B/16"
    amount = f"{samples / 1e6:,.0f} M samples, {load_s / gpu_s:.1f} of a core to feed one GPU"
    yield Line("training, one GPU", words, "estimated, not measured", gpu_s / HOUR_S, is_sum=True)
    yield Line("loading for it, one core", amount, f"`{name}`, half of it", load_s / HOUR_S, is_sum=True)


def table(rows: list[Line]) -> str:
    """Format the lines as Markdown, and below them the two slowest steps on the way to the dataset."""
    head = "| step | amount | hours | source |\n|---|---|---:|---|"
    hours = ["" if one.hours is None else f"{one.hours:,.1f}" for one in rows]
    cells = [f"| {one.step} | {one.amount} | {h} | {one.source} |" for one, h in zip(rows, hours, strict=True)]
    worst, second = sorted((one for one in rows if one.hours and not one.is_sum), key=lambda one: -(one.hours or 0))[:2]
    days = [f"{(one.hours or 0) * HOUR_S / DAY_S:.1f} days" for one in (worst, second)]
    summary = f"The first bottleneck is **{worst.step}**, {days[0]}; the second {second.step}, {days[1]}."
    return "\n".join([head, *cells, "", summary, ""])


def main() -> None:
    """Print the table, and write it into the page; under QUICK=1 only print it, for 1 % of the archive."""
    archive = Archive(num_observations=17_000, size_bytes=1 * TB) if QUICK else Archive()
    tiles_each = round(num_tiles(archive) / archive.num_observations)
    progress(f"writing a catalog of {SYNTHETIC_OBSERVATIONS:,} observations with {tiles_each} tiles each")
    bytes_each = catalog_bytes(tiles_each)
    progress(f"simulating the fetch of {archive.num_observations:,} files")
    text = table(list(lines(read_costs(), archive, bytes_each)))
    print(text)
    if QUICK:
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{text}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
