"""JPEG previews from a server into tars of 256 px pictures: ours against img2dataset; the fetch alone against curl.

All read the same 2,000 previews of 512 px from one server of static files. Ours checks the length and structure of
every file and the free disk space, names the file by its hash, syncs it, and deletes it once cut; the peers do not.
Both pipelines use one process per core; starting them is timed, imports of the first process are not. img2dataset runs
in an environment of its own. curl is also timed with a sync at the end, because unsynced bytes may be lost.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.environments import peer_python, run_peer
from benchmarks.measure import Row, Seconds, each, progress, rate_row, report, sized, time_in_turn
from benchmarks.static_server import served_folder
from benchmarks.synthetic_data import star_field
from benchmarks.tile_pipeline import pack
from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.archives.mast.product_sources import FileSources
from hubbleclip.config.settings import FetchSettings, TileSettings
from hubbleclip.core.io import sync_files
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.images.tiling import CutTile, tile_file
from hubbleclip.missions.hst import HST

NUM_PREVIEWS = sized(2000, 200)
LONG_ROUNDS = sized(4, 2)
"""How often the long run fetches each preview; in a longer run the start of the processes weighs less."""
SIDE_PX = 512
CORES = os.cpu_count() or 1
CONNECTIONS = 8
SHARD_SIZE = sized(250, 50)
BATCH_SIZE = 64
FETCH = FetchSettings(connections=CONNECTIONS, requests_per_s=1_000_000, min_free_gb=0.1)  # no rate limit
RUNS = sized(3, 1)
FETCH_RUNS = sized(3, 1)
IMG2DATASET = "img2dataset 1.47"


def write_previews(folder: Path) -> None:
    """Write different star fields as JPEG, of the size of the archive's previews."""
    field_yx = np.clip(18 * np.arcsinh(star_field(2048, 1) - 3), 0, 255).astype(np.uint8)
    rng = np.random.default_rng(2)  # positions of the cut-outs of one large field
    for index, (y0, x0) in enumerate(rng.integers(0, 2048 - SIDE_PX, (NUM_PREVIEWS, 2))):
        picture = Image.fromarray(field_yx[y0 : y0 + SIDE_PX, x0 : x0 + SIDE_PX])
        picture.save(folder / f"{index:05d}.jpg", quality=80)


class StaticArchive(MastClient):
    """An archive that serves each file under its name."""

    def download_url(self, uri: str) -> str:
        """See MastClient.download_url."""
        return f"{self.url}/{uri.removeprefix('mast:')}"


@cache
def open_sources(url: str, folder: Path, num_connections: int = CONNECTIONS) -> FileSources:
    """Open our download pipeline for small files, once per process."""
    fetch = FETCH.model_copy(update={"connections": num_connections})
    return FileSources(Layout(folder), StaticArchive(url, Transport(fetch)), HST.bucket)


def product_of(name: str) -> Product:
    """Describe a preview as an archive lists it."""
    return Product(
        uri=f"mast:{name}",
        obs_id=name,
        proposal_id="hst:1",
        file_name=name.partition("?")[0],
        kind="preview",
        size_bytes=None,
        choice="the only one",
    )


def fetch_all(url: str, names: Sequence[str], folder: Path) -> None:
    """Fetch files to the disk, several batches at once, as the flow does."""
    sources = open_sources(url, folder)
    with ThreadPoolExecutor(CONNECTIONS) as connections, ThreadPoolExecutor(CORES) as batches:

        def fetch(batch: Sequence[str]) -> None:  # some sync while others fetch
            found = connections.map(partial(sources.deliver, is_kept=True), map(product_of, batch))
            sync_files([sources.layout.absolute(delivery.product.path or "") for delivery in found])

        list(batches.map(fetch, [names[start : start + BATCH_SIZE] for start in range(0, len(names), BATCH_SIZE)]))


def pack_shard(names: Sequence[str], *, url: str, folder: Path, settings: TileSettings) -> None:
    """Fetch and cut files, and write their pictures into a tar; nothing else is written."""
    sources = open_sources(url, folder, CONNECTIONS // CORES)

    def cut(name: str) -> Sequence[CutTile]:
        delivery = sources.deliver(product_of(name), is_kept=False)
        product = delivery.product
        return tile_file(delivery.data or b"", product.sha256 or "", settings, product.file_name).tiles

    with ThreadPoolExecutor(CONNECTIONS // CORES) as connections:
        num_tiles = pack(connections.map(cut, names), folder / f"{names[0]}.tar")
    if num_tiles != len(names):
        raise RuntimeError(f"{len(names)} previews gave {num_tiles} pictures")


def compare_pipelines(url: str, previews: Path, names: Sequence[str], picture: str) -> Row | None:
    """Measure pictures per second from the server into tars; None if img2dataset is not installed."""
    python = peer_python("img2dataset", "img2dataset==1.47.0")
    if python is None:
        return None
    settings = TileSettings(size_px=256, views=("overview",), format="png" if picture == "png" else "jpeg")
    shards = [names[start : start + SHARD_SIZE] for start in range(0, len(names), SHARD_SIZE)]
    peer_s: list[float] = []
    tile_file(next(previews.iterdir()), "", settings)  # imports and compiles before the clock starts

    @contextmanager
    def ours(folder: Path) -> Iterator[Callable[[], object]]:
        def pack_all() -> None:
            with ProcessPoolExecutor(CORES, get_context("fork")) as pool:
                list(pool.map(partial(pack_shard, url=url, folder=folder, settings=settings), shards))

        yield pack_all

    def theirs(folder: Path) -> None:
        urls = folder / "urls.txt"
        urls.write_text("\n".join(f"{url}/{name}" for name in names))
        result = run_peer(
            python,
            "run_img2dataset.py",
            url_list=urls,
            folder=folder / "out",
            processes=CORES,
            threads=2 * CONNECTIONS,
            encode_format=picture,
            samples_per_shard=len(names) // 4,
        )
        if result["num_images"] != len(names):
            raise RuntimeError(f"img2dataset wrote {result['num_images']} of {len(names)} pictures")
        peer_s.append(result["took_s"])

    ours_s: list[float] = []
    name = f"{len(names):,} previews to 256 px {picture.upper()} in tars"
    for number in range(1, RUNS + 1):
        ours_s += time_in_turn(f"{name}, ours, {number} of {RUNS}", ours, runs=1, warm_ups=number == 1).ours
        progress(f"{name}, {IMG2DATASET}, {number} of {RUNS}")
        with tempfile.TemporaryDirectory() as folder:
            theirs(Path(folder))
    seconds = Seconds(ours=tuple(ours_s), peer=tuple(peer_s))
    return rate_row(name, "pictures/s", len(names), seconds, IMG2DATASET)


def compare_fetch(url: str, names: Sequence[str], is_synced: bool) -> Row:
    """Measure files per second, the fetch alone."""

    @contextmanager
    def ours(folder: Path) -> Iterator[Callable[[], object]]:
        yield lambda: fetch_all(url, names, folder)

    @contextmanager
    def theirs(folder: Path) -> Iterator[Callable[[], object]]:
        config = folder / "files.cfg"
        config.write_text("".join(f'url="{url}/{name}"\noutput="{folder / name}"\n' for name in names))
        command = ["curl", "--silent", "--parallel", "--parallel-max", str(CONNECTIONS), "--config", str(config)]

        def fetch() -> None:
            subprocess.run(command, check=True)
            if is_synced:
                os.sync()

        yield fetch

    peer_name = "curl --parallel" + (", then sync" if is_synced else "")
    name = f"fetch of previews, against {peer_name}"
    seconds = time_in_turn(name, ours, theirs, runs=FETCH_RUNS)
    return rate_row(name, "files/s", len(names), seconds, peer_name)


def main() -> None:
    """Measure the pipelines to PNG and to JPEG, and the fetch alone."""
    with tempfile.TemporaryDirectory(prefix="hubbleclip-previews-") as folder:
        progress(f"drawing {NUM_PREVIEWS:,} previews")
        write_previews(Path(folder))
        names = sorted(path.name for path in Path(folder).iterdir())
        mean_kb = statistics.mean(path.stat().st_size for path in Path(folder).iterdir()) / 1000
        progress(f"{len(names)} previews of {mean_kb:.0f} kB on average")
        with served_folder(Path(folder)) as url:
            pipelines = [
                compare_pipelines(url, Path(folder), names, picture)
                for picture in each(("jpg", "png"), lambda picture: f"{len(names):,} previews to {picture}")
            ]
            long = [f"{name}?{number}" for number in range(LONG_ROUNDS) for name in names]
            progress(f"{len(long):,} previews to jpg")
            pipelines.append(compare_pipelines(url, Path(folder), long, "jpg"))
            fetches = [compare_fetch(url, names, is_synced) for is_synced in (False, True)]
    report("previews", [row for row in [*pipelines, *fetches] if row is not None])


if __name__ == "__main__":
    main()
