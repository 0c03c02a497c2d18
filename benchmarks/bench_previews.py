"""JPEG previews from a server into tars of 256 px pictures: ours against img2dataset; the fetch alone against curl.

All read the same 2,000 previews of 512 px from one server of static files. Ours checks every file's length, structure
and room, names it by its hash, syncs it, and drops it when it is cut, which neither peer does. Both roads take one
process a core, started within their time, while what the first process imports is not counted; img2dataset runs in an
environment of its own. curl's time is also taken with a sync at the end, since bytes that are not on the disk may still
be lost.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
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
from benchmarks.made import star_field
from benchmarks.measure import Row, Seconds, rate_row, report, time_in_turn
from benchmarks.static_server import served_folder
from benchmarks.tiles_road import pack
from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.archives.mast.product_sources import FileSources
from hubbleclip.config.settings import FetchSettings, TileSettings
from hubbleclip.core.io import sync_files
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.images.tiling import CutTile, tile_file
from hubbleclip.missions.hst import HST

NUM_PREVIEWS = 2000
ROUNDS_IN_LONG = 4
"""How often the long run asks for each: the longer, the less the processes' start counts, img2dataset's above all."""
SIDE_PX = 512
CORES = os.cpu_count() or 1
CONNECTIONS = 8
A_SHARD = 250
A_BATCH = 64
FETCH = FetchSettings(connections=CONNECTIONS, requests_per_s=1_000_000, min_free_gb=0.1)
RUNS = 3
IMG2DATASET = "img2dataset 1.47"


def write_previews(folder: Path) -> None:
    """2,000 star fields as JPEG, no two alike, of the size that the archive's previews have."""
    field_yx = np.clip(18 * np.arcsinh(star_field(2048, 1) - 3), 0, 255).astype(np.uint8)
    rng = np.random.default_rng(2)
    for index, (y0, x0) in enumerate(rng.integers(0, 2048 - SIDE_PX, (NUM_PREVIEWS, 2))):
        picture = Image.fromarray(field_yx[y0 : y0 + SIDE_PX, x0 : x0 + SIDE_PX])
        picture.save(folder / f"{index:05d}.jpg", quality=80)


class StaticArchive(MastClient):
    """An archive whose files stand at their names."""

    def download_url(self, uri: str) -> str:
        """See MastClient.download_url."""
        return f"{self.url}/{uri.removeprefix('mast:')}"


@cache
def open_sources(url: str, folder: Path, num_connections: int = CONNECTIONS) -> FileSources:
    """The road that small files of an archive take, one in a process."""
    fetch = FETCH.model_copy(update={"connections": num_connections})
    transport = Transport(fetch)
    return FileSources(fetch, Layout(folder), transport, StaticArchive(url, transport), bucket=HST.bucket)


def product_of(name: str) -> Product:
    """A preview as an archive lists it."""
    return Product(
        uri=f"mast:{name}", obs_id=name, proposal_id="hst:1", file_name=name.partition("?")[0], kind="preview",
        size_bytes=None, choice="the only one",
    )  # fmt: skip


def fetch_all(url: str, names: Sequence[str], folder: Path) -> None:
    """Fetch files to the disk, each batch side by side, as the flow does."""
    sources = open_sources(url, folder)
    with ThreadPoolExecutor(CONNECTIONS) as connections, ThreadPoolExecutor(CORES) as batches:

        def fetch(batch: Sequence[str]) -> None:  # some sync while others fetch
            found = connections.map(sources.fetch, map(product_of, batch))
            sync_files([sources.layout.absolute(product.path or "") for product in found])

        list(batches.map(fetch, [names[start : start + A_BATCH] for start in range(0, len(names), A_BATCH)]))


def pack_shard(names: Sequence[str], *, url: str, folder: Path, settings: TileSettings) -> None:
    """Fetch and cut some files, and write their pictures into a tar; nothing else touches the disk."""
    sources = open_sources(url, folder, CONNECTIONS // CORES)

    def cut(name: str) -> Sequence[CutTile]:
        delivery = sources.deliver(product_of(name))
        product = delivery.product
        return tile_file(delivery.data or b"", product.sha256 or "", settings, product.file_name).tiles

    with ThreadPoolExecutor(CONNECTIONS // CORES) as connections:
        num_tiles = pack(connections.map(cut, names), folder / f"{names[0]}.tar")
    if num_tiles != len(names):
        raise RuntimeError(f"{len(names)} previews gave {num_tiles} pictures")


def compare_roads(url: str, previews: Path, names: Sequence[str], picture: str) -> Row | None:
    """Pictures a second from the server into tars; None where img2dataset does not install."""
    python = peer_python("img2dataset", "img2dataset==1.47.0")
    if python is None:
        return None
    settings = TileSettings(size_px=256, views=("overview",), format="png" if picture == "png" else "jpeg")
    shards = [names[start : start + A_SHARD] for start in range(0, len(names), A_SHARD)]
    peer_s: list[float] = []
    tile_file(next(previews.iterdir()), "", settings)  # imports, and compiles

    @contextmanager
    def ours(folder: Path) -> Iterator[Callable[[], object]]:
        def pack_all() -> None:
            with ProcessPoolExecutor(CORES, get_context("fork")) as pool:
                list(pool.map(partial(pack_shard, url=url, folder=folder, settings=settings), shards))

        yield pack_all

    def theirs(folder: Path) -> None:
        urls = folder / "urls.txt"
        urls.write_text("\n".join(f"{url}/{name}" for name in names))
        told = run_peer(
            python, "run_img2dataset.py", url_list=urls, folder=folder / "out", processes=CORES,
            threads=2 * CONNECTIONS, encode_format=picture, samples_a_shard=len(names) // 4,
        )  # fmt: skip
        if told["num_images"] != len(names):
            raise RuntimeError(f"img2dataset wrote {told['num_images']} of {len(names)} pictures")
        peer_s.append(told["took_s"])

    ours_s: list[float] = []
    for _ in range(RUNS):
        ours_s += time_in_turn(ours, runs=1).ours
        with tempfile.TemporaryDirectory() as folder:
            theirs(Path(folder))
    seconds = Seconds(ours=tuple(ours_s), peer=tuple(peer_s))
    name = f"{len(names):,} previews to 256 px {picture.upper()} in tars"
    return rate_row(name, "pictures/s", len(names), seconds, IMG2DATASET)


def compare_fetch(url: str, names: Sequence[str], is_synced: bool) -> Row:
    """Files a second, the fetch alone."""

    @contextmanager
    def ours(folder: Path) -> Iterator[Callable[[], object]]:
        yield lambda: fetch_all(url, names, folder)

    @contextmanager
    def theirs(folder: Path) -> Iterator[Callable[[], object]]:
        listed = folder / "files.cfg"
        listed.write_text("".join(f'url="{url}/{name}"\noutput="{folder / name}"\n' for name in names))
        command = ["curl", "--silent", "--parallel", "--parallel-max", str(CONNECTIONS), "--config", str(listed)]

        def fetch() -> None:
            subprocess.run(command, check=True)
            if is_synced:
                os.sync()

        yield fetch

    seconds = time_in_turn(ours, theirs, runs=5)
    peer_name = "curl --parallel" + (", then sync" if is_synced else "")
    return rate_row(f"fetch of previews, against {peer_name}", "files/s", len(names), seconds, peer_name)


def main() -> None:
    """Measure the road to PNG and to JPEG, and the fetch alone."""
    with tempfile.TemporaryDirectory(prefix="hubbleclip-previews-") as folder:
        write_previews(Path(folder))
        names = sorted(path.name for path in Path(folder).iterdir())
        mean_kb = statistics.mean(path.stat().st_size for path in Path(folder).iterdir()) / 1000
        print(f"{len(names)} previews of {mean_kb:.0f} kB", file=sys.stderr)
        with served_folder(Path(folder)) as url:
            roads = [compare_roads(url, Path(folder), names, picture) for picture in ("jpg", "png")]
            long = [f"{name}?{number}" for number in range(ROUNDS_IN_LONG) for name in names]
            roads.append(compare_roads(url, Path(folder), long, "jpg"))
            fetches = [compare_fetch(url, names, is_synced) for is_synced in (False, True)]
    report("previews", [row for row in [*roads, *fetches] if row is not None])


if __name__ == "__main__":
    main()
