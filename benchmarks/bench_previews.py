"""JPEG previews from a server into tars of 256 px pictures: ours against img2dataset; the fetch alone against curl.

All read the same 2,000 previews of 512 px from one server of static files. Ours checks every file's length, structure
and room, names it by its hash, syncs it, and drops it when it is cut, which neither peer does; img2dataset runs in an
environment of its own, timed inside, without its imports. curl's time is also taken with a sync at the end, since bytes
that are not on the disk may still be lost.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.environments import peer_python, run_peer
from benchmarks.made import star_field
from benchmarks.measure import Row, Seconds, rate_row, report, time_in_turn
from benchmarks.static_server import served_folder
from hubbleclip.archives.download import fetch_file
from hubbleclip.archives.transport import Transport
from hubbleclip.files import sync_files
from hubbleclip.images.tiles import tile_file
from hubbleclip.paths import Layout
from hubbleclip.settings import FetchSettings, TileSettings

NUM_PREVIEWS = 2000
SIDE_PX = 512
PROCESSES = 2
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


def fetch_all(url: str, names: Sequence[str], folder: Path) -> None:
    """Fetch files over 8 connections."""
    transport, layout = Transport(FETCH), Layout(folder)

    def fetch(name: str) -> Path:
        return fetch_file(
            transport, f"{url}/{name}", uri=f"mast:{name}", file_name=name, size_bytes=None, layout=layout
        ).path

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for start in range(0, len(names), A_BATCH):
            sync_files(list(pool.map(fetch, names[start : start + A_BATCH])))


def pack_shard(names: Sequence[str], *, url: str, folder: Path, settings: TileSettings) -> int:
    """Fetch, cut and drop some files, and write their pictures into a tar; how many there are."""
    transport, layout = Transport(FETCH), Layout(folder / names[0])

    def picture_of(name: str) -> tuple[str, bytes]:
        file = fetch_file(
            transport, f"{url}/{name}", uri=f"mast:{name}", file_name=name, size_bytes=None, layout=layout
        )
        (tile,) = tile_file(file.path, file.sha256, settings, name).tiles
        file.path.unlink()
        return tile.tile_id + tile.suffix, tile.png

    with (
        tarfile.open(folder / f"{names[0]}.tar", "w", format=tarfile.USTAR_FORMAT) as tar,
        ThreadPoolExecutor(CONNECTIONS // PROCESSES) as pool,
    ):
        for name, picture in pool.map(picture_of, names):
            member = tarfile.TarInfo(name)
            member.size = len(picture)
            tar.addfile(member, io.BytesIO(picture))
    return len(names)


def compare_roads(url: str, names: Sequence[str], picture: str) -> Row | None:
    """Pictures a second from the server into tars; None where img2dataset does not install."""
    python = peer_python("img2dataset", "img2dataset==1.47.0")
    if python is None:
        return None
    settings = TileSettings(size_px=256, views=("overview",), format="png" if picture == "png" else "jpeg")
    shards = [names[start : start + A_SHARD] for start in range(0, len(names), A_SHARD)]
    peer_s: list[float] = []

    @contextmanager
    def ours(folder: Path) -> Iterator[Callable[[], object]]:
        pack = partial(pack_shard, url=url, folder=folder, settings=settings)
        with multiprocessing.get_context("forkserver").Pool(PROCESSES) as pool:
            pool.map(pack, [shard[:2] for shard in shards[:PROCESSES]], chunksize=1)
            yield lambda: pool.map(pack, shards, chunksize=1)

    def theirs(folder: Path) -> None:
        urls = folder / "urls.txt"
        urls.write_text("\n".join(f"{url}/{name}" for name in names))
        told = run_peer(
            python, "run_img2dataset.py", url_list=urls, folder=folder / "out", processes=PROCESSES,
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
    return rate_row(f"previews to 256 px {picture.upper()} in tars", "pictures/s", len(names), seconds, IMG2DATASET)


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
            roads = [compare_roads(url, names, picture) for picture in ("jpg", "png")]
            fetches = [compare_fetch(url, names, is_synced) for is_synced in (False, True)]
    report("previews", [row for row in [*roads, *fetches] if row is not None])


if __name__ == "__main__":
    main()
