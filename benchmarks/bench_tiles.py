"""FITS to PNG tiles of 256 px in a shard: ours, with masks, rays, repairs, checks and WCS, against what does less.

On one core and on two, from the start of a process, against the sum of the parts, and cut-outs against cut-outs. Peers
that need an environment of their own get one under `--peers FOLDER` (kept), or in a folder thrown away at the end.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import tiles_road
from benchmarks.made import write_drz, write_flc
from benchmarks.measure import ROOT, Contender, Row, Seconds, rate_row, report, seconds_row, time_in_turn
from benchmarks.peers import tiles as naive
from benchmarks.peers.tiles_apart import ASTROCUT, FITSBOLT, SHELF, Apart, peers_apart
from hubbleclip.images import holes, levels
from hubbleclip.images.fits import ScienceImage, read_science_images
from hubbleclip.images.kernels import pixel_words
from hubbleclip.images.png import decode_png, encode_png
from hubbleclip.images.stretch import Stretch, level_curve
from hubbleclip.images.tiles import CutTile, tile_file
from hubbleclip.settings import TileSettings

SIZE_PX = 256
SETTINGS = TileSettings(size_px=SIZE_PX, views=("native",))
TILE_MPIX = SIZE_PX**2 / 1e6
RUNS = 7
READ_BYTES = 1 << 20


def contender(work: Callable[[Path], object]) -> Contender:
    """Work that is given an empty folder."""

    @contextmanager
    def prepared(folder: Path) -> Iterator[Callable[[], object]]:
        yield partial(work, folder)

    return prepared


def road_rows(name: str, paths: Sequence[Path], apart: Apart | None) -> list[Row]:
    """Megapixels of tiles a second on one core; each side's own number of tiles counts, ours has a few more."""
    counts: dict[str, int] = {}

    def ours(folder: Path) -> None:
        counts["ours"] = tiles_road.write_shard(paths, folder / "ours.tar", SIZE_PX)

    def theirs(folder: Path) -> None:
        counts[naive.NAME] = naive.write_shard(paths, folder / "theirs.tar", SIZE_PX)

    def shelf(folder: Path) -> None:
        assert apart is not None
        counts[SHELF] = apart.ask("shard", paths, folder / "shelf.tar", SIZE_PX)

    rows = []
    for peer_name, peer in [(naive.NAME, theirs)] + ([(SHELF, shelf)] if apart else []):
        seconds = time_in_turn(contender(ours), contender(peer), runs=RUNS)
        rows.append(per_tile_row(f"{name}, one core", seconds, counts["ours"], counts[peer_name], peer_name))
    return rows


def per_tile_row(name: str, seconds: Seconds, num_ours: int, num_theirs: int, peer_name: str) -> Row:
    """Rates in megapixels of tiles: the peer's time is scaled to as many tiles as ours."""
    scaled = Seconds(ours=seconds.ours, peer=tuple(one * num_ours / num_theirs for one in seconds.peer))
    return rate_row(name, "Mpix/s", num_ours * TILE_MPIX, scaled, peer_name)


def two_processes_row(paths: Sequence[Path]) -> Row:
    """The files shared out between two worker processes, against one."""
    with ProcessPoolExecutor(1) as one, ProcessPoolExecutor(2) as two:

        def cut(pool: ProcessPoolExecutor, folder: Path) -> int:
            jobs = [([path], folder / f"{number}.tar", SIZE_PX) for number, path in enumerate(paths)]
            return sum(pool.map(tiles_road.write_shard, *zip(*jobs, strict=True)))

        sides = contender(partial(cut, two)), contender(partial(cut, one))
        seconds = time_in_turn(*sides, runs=RUNS)
        with tempfile.TemporaryDirectory() as folder:
            megapixels = cut(two, Path(folder)) * TILE_MPIX
    return rate_row(f"{len(paths)} files, two processes", "Mpix/s", megapixels, seconds, "ours in one process")


def process_row(paths: Sequence[Path]) -> Row:
    """A whole process, imports and all, on both files."""

    def start(module: str, folder: Path) -> None:
        command = [sys.executable, "-m", module, folder / "shard.tar", str(SIZE_PX), *paths]
        subprocess.run(command, cwd=ROOT, check=True)

    ours, theirs = (contender(partial(start, module)) for module in ("benchmarks.tiles_road", "benchmarks.peers.tiles"))
    return seconds_row("both files, whole process with imports", time_in_turn(ours, theirs, runs=RUNS), naive.NAME)


def bound_row(name: str, path: Path) -> Row:
    """Ours against the sum of its parts alone: reading the bytes, levels of sound pixels, PNG, tar."""
    tiles = tile_file(path, "0" * 64, SETTINGS).tiles
    images = read_science_images(path, SETTINGS.max_pixels)
    parts = (
        partial(read_bytes, path, sum(image.data_yx.nbytes for image in images)),
        partial(stretch_all, images),
        partial(encode_all, [decode_png(tile.png) for tile in tiles]),
        partial(pack_all, tiles),
    )
    alone = {part.func.__name__: time_in_turn(contender(part), runs=RUNS).ours for part in parts}
    whole = time_in_turn(contender(lambda to: tiles_road.write_shard([path], to / "ours.tar", SIZE_PX)), runs=RUNS).ours
    text = " + ".join(f"{part} {statistics.median(runs) * 1e3:.0f}" for part, runs in alone.items())
    both = Seconds(ours=whole, peer=tuple(sum(run) for run in zip(*alone.values(), strict=True)))
    return rate_row(f"{name}, share of its bound", "Mpix/s", len(tiles) * TILE_MPIX, both, f"the sum of {text} ms")


def read_bytes(path: Path, num_bytes: int, folder: Path) -> None:
    """As many bytes of a file into a buffer."""
    buffer = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while num_bytes > 0:
            num_bytes -= file.readinto(buffer) or num_bytes


def stretch_all(images: Sequence[ScienceImage], folder: Path) -> None:
    """Levels of all pixels, by bands of rows, as if all were sound."""
    for image in images:
        curve = level_curve(Stretch(kind="asinh", black=4, white=8000, softening=3, sky=5, noise=1), holes.NEVER)
        levels_yx, sound_yx = np.empty((SIZE_PX, image.data_yx.shape[1]), np.uint8), np.ones_like(image.valid_yx)
        for top in range(0, len(sound_yx) - SIZE_PX + 1, SIZE_PX):
            levels.levels_of_rows(pixel_words(image.data_yx), sound_yx, curve, top, levels_yx)


def encode_all(pictures: Sequence[NDArray[np.uint8]], folder: Path) -> None:
    """The PNGs of the tiles."""
    for levels_yx in pictures:
        encode_png(levels_yx)


def pack_all(tiles: Sequence[CutTile], folder: Path) -> None:
    """The tar of the PNGs."""
    tiles_road.pack(tiles, folder / "a.tar")


def cutout_rows(path: Path, apart: Apart) -> list[Row]:
    """Cut-outs of a grid a second."""
    rows = []
    for job, peer_name in (("astrocut", ASTROCUT), ("fitsbolt", FITSBOLT)):
        counts: list[int] = []
        ours = contender(lambda _: tile_file(path, "0" * 64, SETTINGS))
        theirs = contender(
            lambda folder, job=job, counts=counts: counts.append(apart.ask(job, [path], folder, SIZE_PX))
        )
        seconds = time_in_turn(ours, theirs, runs=3)
        num_ours = len(tile_file(path, "0" * 64, SETTINGS).tiles)
        scaled = Seconds(ours=seconds.ours, peer=tuple(one * num_ours / counts[0] for one in seconds.peer))
        rows.append(rate_row("cut-outs of 256 px from 2,100 px", "tiles/s", num_ours, scaled, peer_name))
    return rows


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="where the peers' environment stands or is to be made")
    chosen = parser.parse_args().peers
    with tempfile.TemporaryDirectory() as folder, peers_apart(chosen or Path(folder) / "peers") as apart:
        drz, flc = write_drz(Path(folder) / "made_drz.fits", 4200), write_flc(Path(folder) / "made_flc.fits")
        rows = road_rows("drz 4200 x 4200", [drz], apart) + road_rows("flc 2 x 2048 x 4096", [flc], apart)
        rows += [bound_row("drz", drz), bound_row("flc", flc)]
        rows += [two_processes_row([drz, drz, flc, flc]), process_row([drz, flc])]
        if apart:
            rows += cutout_rows(write_drz(Path(folder) / "small_drz.fits", 2100), apart)
    report("tiles", rows)


if __name__ == "__main__":
    main()
