"""FITS to PNG tiles of 256 px in a shard: ours, with masks, repairs, checks and WCS, against simpler pipelines.

Measured on one core and on two, as whole processes, against the sum of the parts, and cut-outs against cut-outs. A peer
that keeps cosmic rays is compared with ours keeping them too, and ours rejecting them with astropy and astroscrappy.
Peers with conflicting packages run in environments of their own.
"""

from __future__ import annotations

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

from benchmarks import tile_pipeline
from benchmarks.measure import (
    ROOT,
    Contender,
    Row,
    Seconds,
    each,
    progress,
    rate_row,
    report,
    seconds_row,
    sized,
    time_in_turn,
)
from benchmarks.peers import tiles as naive
from benchmarks.peers.tile_peers import ASTROCUT, ASTROSCRAPPY, CUTANA, FITSBOLT, LIBRARIES, PeerProcess, peer_process
from benchmarks.synthetic_data import write_drz, write_flc
from hubbleclip.config.settings import TileSettings
from hubbleclip.images.cosmic_rays import reject_cosmic_rays
from hubbleclip.images.encode import decode_own_png, encode_png
from hubbleclip.images.reader import ScienceImage, read_science_images
from hubbleclip.images.stretch import Stretch, apply_stretch
from hubbleclip.images.tiling import CutTile, tile_file

SIZE_PX = 256
SETTINGS = TileSettings(size_px=SIZE_PX, views=("native",))
TILE_MPIX = SIZE_PX**2 / 1e6
RUNS = sized(7, 1)
PROCESS_FILES = sized((2, 16), (2,))
"""Files per process."""
READ_BYTES = 1 << 20  # per system call
DRZ_PX, FLC_YX = sized((4200, (2048, 4096)), (1100, (512, 1024)))
SMALL_PX = sized(2100, 600)
SIZES = {"drz": f"{DRZ_PX} x {DRZ_PX}", "flc": f"2 x {FLC_YX[0]} x {FLC_YX[1]}"}


def contender(work: Callable[[Path], object]) -> Contender:
    """Time a function that takes an empty folder."""

    @contextmanager
    def prepared(folder: Path) -> Iterator[Callable[[], object]]:
        yield partial(work, folder)

    return prepared


def pipeline_rows(paths: Mapping[str, Path], libraries: PeerProcess | None, runs: int) -> list[Row]:
    """Measure megapixels of tiles per second on one core; each side counts its own tiles, ours has a few more."""
    drz, flc = (f"{name} {size}" for name, size in SIZES.items())
    job = partial(partial, libraries.run) if libraries else None
    pairs: list[tuple[str, str, bool, Callable[..., int] | None, str, int]] = [
        (f"{drz}, one core", "drz", True, naive.write_shard, naive.NAME, runs),
        (f"{drz}, one core", "drz", True, job and job("shard"), LIBRARIES, runs),
        (f"{flc}, rays left by both, one core", "flc", False, naive.write_shard, naive.NAME, runs),
        (f"{flc}, rays left by both, one core", "flc", False, job and job("shard"), LIBRARIES, runs),
        (
            f"{flc}, rays taken out by both, one core",
            "flc",
            True,
            job and job("naive_clean"),
            ASTROSCRAPPY,
            min(runs, 3),
        ),
        (f"{flc}, rays taken out by ours alone, one core", "flc", True, naive.write_shard, naive.NAME, runs),
        (f"{flc}, rays taken out by ours alone, one core", "flc", True, job and job("shard"), LIBRARIES, runs),
    ]
    measurable = [pair for pair in pairs if pair[3]]
    return [
        pipeline_row(name, paths[key], rejects_rays, peer, peer_name, num_runs)
        for name, key, rejects_rays, peer, peer_name, num_runs in each(
            measurable, lambda pair: f"{pair[0]}, against {pair[4]}"
        )
    ]


def pipeline_row(name: str, path: Path, rejects_rays: bool, peer: Callable[..., int], peer_name: str, runs: int) -> Row:
    """Measure our pipeline against a peer's."""
    counts = {}

    def ours(folder: Path) -> None:
        counts["ours"] = tile_pipeline.write_shard([path], folder / "ours.tar", SIZE_PX, rejects_rays)

    def theirs(folder: Path) -> None:
        counts["theirs"] = peer([path], folder / "theirs.tar", SIZE_PX)

    seconds = time_in_turn(name, contender(ours), contender(theirs), runs=runs)
    return per_tile_row(name, seconds, counts["ours"], counts["theirs"], peer_name)


def per_tile_row(name: str, seconds: Seconds, num_ours: int, num_theirs: int, peer_name: str) -> Row:
    """Make a row in megapixels of tiles: the peer's time is scaled to our number of tiles."""
    scaled = Seconds(ours=seconds.ours, peer=tuple(one * num_ours / num_theirs for one in seconds.peer))
    return rate_row(name, "Mpix/s", num_ours * TILE_MPIX, scaled, peer_name)


def two_processes_row(paths: Sequence[Path], runs: int) -> Row:
    """Measure files divided between two worker processes, against one process."""
    with ProcessPoolExecutor(1) as one, ProcessPoolExecutor(2) as two:

        def cut(pool: ProcessPoolExecutor, folder: Path) -> int:
            jobs = [([path], folder / f"{number}.tar", SIZE_PX) for number, path in enumerate(paths)]
            return sum(pool.map(tile_pipeline.write_shard, *zip(*jobs, strict=True)))

        sides = contender(partial(cut, two)), contender(partial(cut, one))
        name = f"{len(paths)} files, two processes"
        seconds = time_in_turn(name, *sides, runs=runs)
        with tempfile.TemporaryDirectory() as folder:
            megapixels = cut(two, Path(folder)) * TILE_MPIX
    return rate_row(name, "Mpix/s", megapixels, seconds, "ours in one process")


def process_row(paths: Sequence[Path], runs: int) -> Row:
    """Measure a whole process with its imports."""

    def start(module: str, folder: Path) -> None:
        command = [sys.executable, "-m", module, folder / "shard.tar", str(SIZE_PX), *paths]
        subprocess.run(command, cwd=ROOT, check=True)

    ours, theirs = (
        contender(partial(start, module)) for module in ("benchmarks.tile_pipeline", "benchmarks.peers.tiles")
    )
    name = f"whole process with imports, {len(paths)} files"
    return seconds_row(name, time_in_turn(name, ours, theirs, runs=runs), naive.NAME)


def bound_row(name: str, path: Path, runs: int) -> Row:
    """Measure our pipeline against its parts run separately: reading, cosmic rays (if detected), levels, PNG, tar."""
    tiles = tile_file(path, "0" * 64, SETTINGS).tiles
    images = read_science_images(path, SETTINGS.max_pixels)
    parts = [
        partial(read_bytes, path, sum(image.data_yx.nbytes for image in images)),
        partial(stretch_all, images),
        partial(encode_all, [decode_own_png(tile.encoded) for tile in tiles]),
        partial(pack_all, tiles),
    ]
    if any(image.may_have_cosmic_rays for image in images):
        parts.insert(1, partial(detect_cosmic_rays, images))
    # seconds of each part in every run, for the name of the row
    alone: dict[str, list[float]] = {part.func.__name__: [] for part in parts}

    def run_parts(folder: Path) -> None:
        for part in parts:
            start = time.perf_counter()
            part(folder)
            alone[part.func.__name__].append(time.perf_counter() - start)

    ours = contender(lambda folder: tile_pipeline.write_shard([path], folder / "ours.tar", SIZE_PX))
    seconds = time_in_turn(f"{name}, share of its bound", ours, contender(run_parts), runs=runs)
    medians_ms = {part: statistics.median(times[1:]) * 1e3 for part, times in alone.items()}  # without the warm-up
    text = " + ".join(f"{part} {median_ms:.0f}" for part, median_ms in medians_ms.items())
    return rate_row(f"{name}, share of its bound", "Mpix/s", len(tiles) * TILE_MPIX, seconds, f"the sum of {text} ms")


def read_bytes(path: Path, num_bytes: int, folder: Path) -> None:
    """Read the first bytes of a file into a buffer."""
    buffer = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while num_bytes > 0:
            num_bytes -= file.readinto(buffer) or num_bytes


def detect_cosmic_rays(images: Sequence[ScienceImage], folder: Path) -> None:
    """Detect cosmic rays in all images, in copies of their masks."""
    for image in images:
        reject_cosmic_rays(image.data_yx, image.valid_yx.copy(), image.star_contrast, image.saturated)


def stretch_all(images: Sequence[ScienceImage], folder: Path) -> None:
    """Compute levels of all pixels, by bands of rows, as if all were valid."""
    stretch = Stretch(kind="asinh", black=4, white=8000, softening=3, sky=5, noise=1)
    for image in images:
        for top in range(0, len(image.data_yx) - SIZE_PX + 1, SIZE_PX):
            rows_yx = image.data_yx[top : top + SIZE_PX]
            apply_stretch(rows_yx, np.ones(rows_yx.shape, np.bool_), stretch)


def encode_all(pictures: Sequence[NDArray[np.uint8]], folder: Path) -> None:
    """Encode the tiles as PNG."""
    for levels_yx in pictures:
        encode_png(levels_yx)


def pack_all(tiles: Sequence[CutTile], folder: Path) -> None:
    """Write the tar of the PNGs."""
    tile_pipeline.pack([tiles], folder / "a.tar")


def cutout_row(path: Path, process: PeerProcess, job: str, peer_name: str, runs: int) -> Row:
    """Measure cut-outs of a grid per second."""
    counts: list[int] = []
    ours = contender(lambda _: tile_file(path, "0" * 64, SETTINGS))
    theirs = contender(lambda folder: counts.append(process.run(job, [path], folder, SIZE_PX)))
    name = f"cut-outs of 256 px from {SMALL_PX:,} px"
    seconds = time_in_turn(f"{name}, against {peer_name}", ours, theirs, runs=runs)
    num_ours = len(tile_file(path, "0" * 64, SETTINGS).tiles)
    scaled = Seconds(ours=seconds.ours, peer=tuple(one * num_ours / counts[0] for one in seconds.peer))
    return rate_row(name, "tiles/s", num_ours, scaled, peer_name)


def main() -> None:
    """Measure all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        peer_process("tiles_libraries.py") as libraries,
        peer_process("tiles_cutana.py") as cutana,
    ):
        progress(f"drawing synthetic files: {', '.join(SIZES.values())}")
        drz = write_drz(Path(folder) / "synthetic_drz.fits", DRZ_PX)
        flc = write_flc(Path(folder) / "synthetic_flc.fits", FLC_YX)
        small = write_drz(Path(folder) / "small_drz.fits", SMALL_PX)
        rows = pipeline_rows({"drz": drz, "flc": flc}, libraries, RUNS)
        rows += [
            two_processes_row([drz, drz, flc, flc] * sized(4, 1), RUNS),
            bound_row("drz", drz, RUNS),
            bound_row("flc", flc, RUNS),
        ]
        rows += [
            process_row([drz, flc] * (num_files // 2), min(RUNS, most))
            for num_files, most in zip(PROCESS_FILES, (5, 3), strict=False)
        ]
        if libraries:
            rows += [
                cutout_row(small, libraries, *peer, min(RUNS, 3))
                for peer in (("astrocut", ASTROCUT), ("fitsbolt", FITSBOLT))
            ]
        if cutana:
            rows.append(cutout_row(small, cutana, "cutana", CUTANA, min(RUNS, 3)))
    report("tiles", rows)


if __name__ == "__main__":
    main()
