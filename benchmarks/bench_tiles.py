"""FITS to PNG tiles of 256 px in a shard: ours, with masks, repairs, checks and WCS, against what does less.

On one core and on two, from the start of a process, against the sum of the parts, and cut-outs against cut-outs. A peer
that leaves cosmic rays is held against ours leaving them too, and ours taking them out against the naive road with
astroscrappy. Peers that need it run in environments of their own; `--few` measures each row twice only.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks import tiles_road
from benchmarks.made import write_drz, write_flc
from benchmarks.measure import ROOT, Contender, Row, Seconds, rate_row, report, seconds_row, table_of, time_in_turn
from benchmarks.peers import tiles as naive
from benchmarks.peers.tiles_apart import ASTROCUT, CLEANING, CUTANA, FITSBOLT, SHELF, Apart, peers_apart
from hubbleclip.config.settings import FlowSettings, TileSettings
from hubbleclip.images import bad_pixels
from hubbleclip.images import render as levels
from hubbleclip.images.cosmic_rays import reject_cosmic_rays
from hubbleclip.images.encode import decode_png, encode_png
from hubbleclip.images.kernels import pixel_words
from hubbleclip.images.reader import ScienceImage, read_science_images
from hubbleclip.images.stretch import Stretch, curve_parameters
from hubbleclip.images.tiling import CutTile, tile_file

SIZE_PX = 256
SETTINGS = TileSettings(size_px=SIZE_PX, views=("native",))
TILE_MPIX = SIZE_PX**2 / 1e6
RUNS = 15
A_BATCH = FlowSettings().batch_size
READ_BYTES = 1 << 20
SIZES = {"drz": "4200 x 4200", "flc": "2 x 2048 x 4096"}


def contender(work: Callable[[Path], object]) -> Contender:
    """Work that is given an empty folder."""

    @contextmanager
    def prepared(folder: Path) -> Iterator[Callable[[], object]]:
        yield partial(work, folder)

    return prepared


def road_rows(paths: Mapping[str, Path], shelf: Apart | None, runs: int) -> list[Row]:
    """Megapixels of tiles a second on one core; each side's own number of tiles counts, ours has a few more."""
    drz, flc = (f"{name} {size}" for name, size in SIZES.items())
    ask = partial(partial, shelf.ask) if shelf else None
    pairs: list[tuple[str, str, bool, Callable[..., int] | None, str, int]] = [
        (f"{drz}, one core", "drz", True, naive.write_shard, naive.NAME, runs),
        (f"{drz}, one core", "drz", True, ask and ask("shard"), SHELF, runs),
        (f"{flc}, rays left by both, one core", "flc", False, naive.write_shard, naive.NAME, runs),
        (f"{flc}, rays left by both, one core", "flc", False, ask and ask("shard"), SHELF, runs),
        (f"{flc}, rays taken out by both, one core", "flc", True, ask and ask("naive_clean"), CLEANING, min(runs, 3)),
        (f"{flc}, rays taken out by ours alone, one core", "flc", True, naive.write_shard, naive.NAME, runs),
        (f"{flc}, rays taken out by ours alone, one core", "flc", True, ask and ask("shard"), SHELF, runs),
    ]
    return [
        road_row(name, paths[key], rays, peer, peer_name, some)
        for name, key, rays, peer, peer_name, some in pairs
        if peer
    ]


def road_row(name: str, path: Path, rays: bool, peer: Callable[..., int], peer_name: str, runs: int) -> Row:
    """One road against another."""
    counts = {}

    def ours(folder: Path) -> None:
        counts["ours"] = tiles_road.write_shard([path], folder / "ours.tar", SIZE_PX, rays)

    def theirs(folder: Path) -> None:
        counts["theirs"] = peer([path], folder / "theirs.tar", SIZE_PX)

    seconds = time_in_turn(contender(ours), contender(theirs), runs=runs)
    return per_tile_row(name, seconds, counts["ours"], counts["theirs"], peer_name)


def per_tile_row(name: str, seconds: Seconds, num_ours: int, num_theirs: int, peer_name: str) -> Row:
    """Rates in megapixels of tiles: the peer's time is scaled to as many tiles as ours."""
    scaled = Seconds(ours=seconds.ours, peer=tuple(one * num_ours / num_theirs for one in seconds.peer))
    return rate_row(name, "Mpix/s", num_ours * TILE_MPIX, scaled, peer_name)


def two_processes_row(paths: Sequence[Path], runs: int) -> Row:
    """The files shared out between two worker processes, against one: enough of them that each gets its core."""
    with ProcessPoolExecutor(1) as one, ProcessPoolExecutor(2) as two:

        def cut(pool: ProcessPoolExecutor, folder: Path) -> int:
            jobs = [([path], folder / f"{number}.tar", SIZE_PX) for number, path in enumerate(paths)]
            return sum(pool.map(tiles_road.write_shard, *zip(*jobs, strict=True)))

        sides = contender(partial(cut, two)), contender(partial(cut, one))
        seconds = time_in_turn(*sides, runs=runs)
        with tempfile.TemporaryDirectory() as folder:
            megapixels = cut(two, Path(folder)) * TILE_MPIX
    return rate_row(f"{len(paths)} files, two processes", "Mpix/s", megapixels, seconds, "ours in one process")


def process_row(paths: Sequence[Path], runs: int) -> Row:
    """A whole process, imports and all, on few files, and on as many as a worker's batch holds."""

    def start(module: str, folder: Path) -> None:
        command = [sys.executable, "-m", module, folder / "shard.tar", str(SIZE_PX), *paths]
        subprocess.run(command, cwd=ROOT, check=True)

    ours, theirs = (contender(partial(start, module)) for module in ("benchmarks.tiles_road", "benchmarks.peers.tiles"))
    name = f"whole process with imports, {len(paths)} files"
    return seconds_row(name, time_in_turn(ours, theirs, runs=runs), naive.NAME)


def bound_row(name: str, path: Path, runs: int) -> Row:
    """Ours against its parts, one by one: reading the bytes, levels of all pixels, PNG, tar; and finding the rays where
    the road does.
    """
    tiles = tile_file(path, "0" * 64, SETTINGS).tiles
    images = read_science_images(path, SETTINGS.max_pixels)
    parts = [
        partial(read_bytes, path, sum(image.data_yx.nbytes for image in images)),
        partial(stretch_all, images),
        partial(encode_all, [decode_png(tile.encoded) for tile in tiles]),
        partial(pack_all, tiles),
    ]
    if any(image.may_have_cosmic_rays for image in images):
        parts.insert(1, partial(take_out_all, images))
    alone: dict[str, list[float]] = {part.func.__name__: [] for part in parts}

    def one_by_one(folder: Path) -> None:
        for part in parts:
            start = time.perf_counter()
            part(folder)
            alone[part.func.__name__].append(time.perf_counter() - start)

    road = contender(lambda folder: tiles_road.write_shard([path], folder / "ours.tar", SIZE_PX))
    seconds = time_in_turn(road, contender(one_by_one), runs=runs)
    text = " + ".join(f"{part} {statistics.median(times[1:]) * 1e3:.0f}" for part, times in alone.items())
    return rate_row(f"{name}, share of its bound", "Mpix/s", len(tiles) * TILE_MPIX, seconds, f"the sum of {text} ms")


def read_bytes(path: Path, num_bytes: int, folder: Path) -> None:
    """As many bytes of a file into a buffer."""
    buffer = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while num_bytes > 0:
            num_bytes -= file.readinto(buffer) or num_bytes


def take_out_all(images: Sequence[ScienceImage], folder: Path) -> None:
    """Cosmic rays of all images, in masks of their own."""
    for image in images:
        reject_cosmic_rays(image.data_yx, image.valid_yx.copy(), 5.0, 1.0)


def stretch_all(images: Sequence[ScienceImage], folder: Path) -> None:
    """Levels of all pixels, by bands of rows, as if all were sound."""
    for image in images:
        curve = curve_parameters(
            Stretch(kind="asinh", black=4, white=8000, softening=3, sky=5, noise=1), bad_pixels.NO_REPAIR
        )
        levels_yx, good_yx = np.empty((SIZE_PX, image.data_yx.shape[1]), np.uint8), np.ones_like(image.valid_yx)
        for top in range(0, len(good_yx) - SIZE_PX + 1, SIZE_PX):
            levels.render_levels(pixel_words(image.data_yx), good_yx, curve, top, levels_yx)


def encode_all(pictures: Sequence[NDArray[np.uint8]], folder: Path) -> None:
    """The PNGs of the tiles."""
    for levels_yx in pictures:
        encode_png(levels_yx)


def pack_all(tiles: Sequence[CutTile], folder: Path) -> None:
    """The tar of the PNGs."""
    tiles_road.pack([tiles], folder / "a.tar")


def cutout_row(path: Path, apart: Apart, job: str, peer_name: str, runs: int) -> Row:
    """Cut-outs of a grid a second."""
    counts: list[int] = []
    ours = contender(lambda _: tile_file(path, "0" * 64, SETTINGS))
    theirs = contender(lambda folder: counts.append(apart.ask(job, [path], folder, SIZE_PX)))
    seconds = time_in_turn(ours, theirs, runs=runs)
    num_ours = len(tile_file(path, "0" * 64, SETTINGS).tiles)
    scaled = Seconds(ours=seconds.ours, peer=tuple(one * num_ours / counts[0] for one in seconds.peer))
    return rate_row("cut-outs of 256 px from 2,100 px", "tiles/s", num_ours, scaled, peer_name)


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", action="store_true", help="twice each, printed and not written: to see that it runs")
    few = parser.parse_args().few
    runs = 2 if few else RUNS
    with (
        tempfile.TemporaryDirectory() as folder,
        peers_apart("tiles_shelf.py") as shelf,
        peers_apart("tiles_cutana.py") as cutana,
    ):
        drz, flc = write_drz(Path(folder) / "made_drz.fits", 4200), write_flc(Path(folder) / "made_flc.fits")
        small = write_drz(Path(folder) / "small_drz.fits", 2100)
        rows = road_rows({"drz": drz, "flc": flc}, shelf, runs)
        rows += [
            two_processes_row([drz, drz, flc, flc] * 4, 2 * runs),
            bound_row("drz", drz, runs),
            bound_row("flc", flc, runs),
        ]
        rows += [
            process_row([drz, flc] * pairs, min(runs, most)) for pairs, most in ((1, 7), (8, 5), (A_BATCH // 2, 3))
        ]
        if shelf:
            rows += [
                cutout_row(small, shelf, *peer, min(runs, 3))
                for peer in (("astrocut", ASTROCUT), ("fitsbolt", FITSBOLT))
            ]
        if cutana:
            rows.append(cutout_row(small, cutana, "cutana", CUTANA, min(runs, 3)))
    if few:
        Console().print(table_of("tiles", rows))
    else:
        report("tiles", rows)


if __name__ == "__main__":
    main()
