"""What the whole archive would cost: what the other benchmarks measured an item, times the items of the archive.

The catalog's size is measured on made rows, the way through a bounded disk is played through file by file. The table
between the marks of `docs/scaling.md` is written anew, so that no figure there is typed by hand.
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

from benchmarks.made_catalog import make_catalog_rows
from benchmarks.measure import RESULTS, ROOT
from hubbleclip.archives.mast.client import OBSIDS_PER_REQUEST
from hubbleclip.catalog.catalog import writing_catalog
from hubbleclip.config.settings import ArchiveSettings, FetchSettings, ShardSettings, TileSettings
from hubbleclip.core.layout import Layout

PAGE = ROOT / "docs/scaling.md"
BEGIN, END = "<!-- figures: python -m benchmarks.bench_scaling -->\n", "<!-- end of figures -->\n"
HOUR_S, DAY_S, MB, GB, TB = 3600, 86_400, 1e6, 1e9, 1e12
MADE_OBSERVATIONS = 10_000

Costs = Mapping[tuple[str, str, str], float]
"""Medians of the benchmarks by stage, name and unit; the worst where a name comes twice."""


class Archive(NamedTuple):
    """What is assumed, since nothing here can measure it; `docs/scaling.md` says why."""

    num_observations: int = 1_700_000
    size_bytes: float = 100 * TB
    bytes_a_pixel: float = 12.0
    size_sigma: float = 1.0
    kept_share: float = 0.5
    epochs: int = 32
    flop_a_sample: float = 3 * 41e9
    gpu_flops: float = 0.35 * 989e12


class Line(NamedTuple):
    """A line of the table; `hours` of one machine, and whether they are others' together or come after the dataset."""

    what: str
    amount: str
    made_of: str
    hours: float | None = None
    is_sum: bool = False


def read_costs(folder: Path = RESULTS) -> dict[tuple[str, str, str], float]:
    """See Costs."""
    costs: dict[tuple[str, str, str], float] = {}
    for path in sorted(folder.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            key = path.stem, row["name"], row["unit"]
            costs[key] = min(row["ours"], costs.get(key, row["ours"]))
    return costs


def catalog_bytes(tiles_an_observation: int, num_observations: int = MADE_OBSERVATIONS) -> float:
    """Bytes of a catalog an observation, its share of all tables included."""
    with TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
        layout = Layout(Path(folder))
        num_tiles = num_observations * tiles_an_observation
        rows = make_catalog_rows(num_observations, num_tiles, layout.root, TileSettings().digest())
        with writing_catalog(layout) as catalog:
            catalog.upsert(rows)
        return layout.catalog.stat().st_size / num_observations


def play(archive: Archive, fetch: FetchSettings, bytes_a_s: float, cut_bytes_a_s: float) -> tuple[float, float]:
    """Seconds and the most bytes on the disk when files are fetched, cut and dropped one by one a connection.

    A connection has its share of the line, a request waits for its turn under the rate limit, each core cuts for one
    connection at a time, and a file counts from its first byte to its removal.
    """
    mean = archive.size_bytes / archive.num_observations
    rng = np.random.default_rng(1)
    sizes = rng.lognormal(np.log(mean) - archive.size_sigma**2 / 2, archive.size_sigma, archive.num_observations)
    sizes = np.minimum(sizes, ArchiveSettings().max_product_mb * MB)
    free = [(0.0, 0.0)] * fetch.connections
    now = turn = held = most = 0.0
    for size in sizes:
        now, dropped = heapq.heappop(free)
        held += size - dropped
        most = max(most, held)
        turn = max(turn + 1 / fetch.requests_per_s, now)
        heapq.heappush(free, (turn + size * fetch.connections / bytes_a_s + size / cut_bytes_a_s, size))
    return max(end for end, _ in free), most


def lines(costs: Costs, archive: Archive, bytes_an_observation: float) -> Iterator[Line]:
    """The table: the metadata, the files, the tiles, the model."""
    yield from _asked(costs, archive, bytes_an_observation)
    yield from _fetched(costs, archive)
    yield from _packed(costs, num_tiles(archive))
    yield from _trained(costs, archive, archive.epochs * num_tiles(archive))


def num_pixels(archive: Archive) -> float:
    """Pixels of all images."""
    return archive.size_bytes / archive.bytes_a_pixel


def num_tiles(archive: Archive) -> float:
    """What is kept of the grids, and an overview a file."""
    return num_pixels(archive) / TileSettings().size_px ** 2 * archive.kept_share + archive.num_observations


def _asked(costs: Costs, archive: Archive, bytes_an_observation: float) -> Iterator[Line]:
    num, rate = archive.num_observations, FetchSettings().requests_per_s
    pages, lists = -(-num // ArchiveSettings().page_size), -(-num // OBSIDS_PER_REQUEST)
    asked, name = num + pages + lists, "ingest, 10,000 observations"
    each = f"{bytes_an_observation / 1e3:.1f} kB an observation with its tiles, measured on made rows"
    words = f"{asked / 1e6:.2f} M: {pages:,} pages, {lists:,} lists, the files"
    yield Line(
        "metadata", f"{num / 1e6:.1f} M observations", f"`{name}`", costs["ingest", name, "s"] * num / 1e4 / HOUR_S
    )
    yield Line("catalog", f"{num * bytes_an_observation / GB:.1f} GB of DuckDB", each)
    yield Line("requests at MAST", words, f"`fetch.requests_per_s`, {rate:g}", asked / rate / HOUR_S)


def _fetched(costs: Costs, archive: Archive) -> Iterator[Line]:
    fetch, size = FetchSettings(), archive.size_bytes
    line = costs["fetch", "fetch, 50 ms away", "MB/s"] * MB
    cut = costs["tiles", "16 files, two processes", "Mpix/s"] / 2 * MB * archive.bytes_a_pixel
    words = f"{num_pixels(archive) / 1e12:.1f} Tpixel, {num_tiles(archive) / 1e6:.0f} M tiles"
    wall_s, most = play(archive, fetch, line, cut)
    amount = f"{size / TB:.0f} TB at {line / MB:.0f} MB/s"
    yield Line("bytes over the line", amount, "`fetch, 50 ms away`", size / line / HOUR_S)
    yield Line("cutting, one core", words, "`16 files, two processes`, half of it", size / cut / HOUR_S)
    amount, way = f"at most {most / GB:.1f} GB of files on the disk", f"played through, {fetch.connections} connections"
    yield Line("fetch, cut and drop together", amount, way, wall_s / HOUR_S, is_sum=True)


def _packed(costs: Costs, tiles: float) -> Iterator[Line]:
    packing = next(name for _, name, _ in costs if re.match(r"[\d,]+ tiles of 512 px", name))
    write = "write 1,000,000 tile rows"
    publish = next(name for _, name, _ in costs if name.startswith("publish a snapshot of 1,000,000 tiles"))
    samples_s, most = costs["shards", packing, "samples/s"], ShardSettings().max_mb
    each = costs["shards", packing, "MB/s"] * MB / samples_s
    publish_s = costs["catalog", publish, "s"] * tiles / 1e6
    rows_s = costs["catalog", write, "rows/s"]
    yield Line("rows of tiles", f"{tiles / 1e6:.0f} M", f"`{write}`", tiles / rows_s / HOUR_S)
    yield Line("publishing the catalog", f"{publish_s:.0f} s each time", f"`{publish}`")
    yield Line("tiles", f"{tiles * each / TB:.1f} TB", f"`{packing}`: {each / 1e3:.0f} kB a sample")
    yield Line("shards", f"{tiles * each / most / MB:,.0f} of {most} MB", f"`{packing}`", tiles / samples_s / HOUR_S)


def _trained(costs: Costs, archive: Archive, samples: float) -> Iterator[Line]:
    gpu_s, name = samples * archive.flop_a_sample / archive.gpu_flops, "loading 512 px grey, 2 workers"
    load_s, words = samples / (costs["shards", name, "samples/s"] / 2), f"{archive.epochs} epochs of ViT-B/16"
    amount = f"{samples / 1e6:,.0f} M samples, {load_s / gpu_s:.1f} of a core to feed one GPU"
    yield Line("training, one GPU", words, "arithmetic, not measured", gpu_s / HOUR_S, is_sum=True)
    yield Line("loading for it, one core", amount, f"`{name}`, half of it", load_s / HOUR_S, is_sum=True)


def table(found: list[Line]) -> str:
    """The lines as Markdown, and under them what takes longest on the way to the dataset."""
    head = "| what | how much | hours | made of |\n|---|---|---:|---|"
    hours = ["" if one.hours is None else f"{one.hours:,.1f}" for one in found]
    rows = [f"| {one.what} | {one.amount} | {h} | {one.made_of} |" for one, h in zip(found, hours, strict=True)]
    worst, second = sorted((one for one in found if one.hours and not one.is_sum), key=lambda one: -(one.hours or 0))[
        :2
    ]
    days = [f"{(one.hours or 0) * HOUR_S / DAY_S:.1f} days" for one in (worst, second)]
    told = f"The first bottleneck is **{worst.what}**, {days[0]}; the second {second.what}, {days[1]}."
    return "\n".join([head, *rows, "", told, ""])


def main() -> None:
    """Write the table, and print it."""
    archive = Archive()
    tiles_each = round(num_tiles(archive) / archive.num_observations)
    text = table(list(lines(read_costs(), archive, catalog_bytes(tiles_each))))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{text}{END}{after}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
