"""FITS to PNG tiles in memory: ours, with masks, sky, checks and WCS, against the usual few lines of astropy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.made import write_drz, write_simulated_drz
from benchmarks.measure import Row, rate_row, report, time_in_turn
from benchmarks.peers import tiles as peer
from hubbleclip.files import sha256_file
from hubbleclip.images.tiles import tile_file
from hubbleclip.settings import TileSettings

SETTINGS = TileSettings()


def compare(name: str, path: Path, runs: int) -> Row:
    """Megapixels of tiles a second. Raises ValueError where the two do not cut as many."""
    sha256 = sha256_file(path)
    num_tiles = len(peer.tile_file(path, SETTINGS.size_px))
    if len(tile_file(path, sha256, SETTINGS).tiles) != num_tiles:
        raise ValueError(f"{name}: ours and the peer cut different numbers of tiles")

    @contextmanager
    def ours(_: Path) -> Iterator[Callable[[], object]]:
        yield lambda: tile_file(path, sha256, SETTINGS)

    @contextmanager
    def theirs(_: Path) -> Iterator[Callable[[], object]]:
        yield lambda: peer.tile_file(path, SETTINGS.size_px)

    megapixels = num_tiles * SETTINGS.size_px**2 / 1e6
    return rate_row(name, "Mpix/s", megapixels, time_in_turn(ours, theirs, runs=runs), peer.NAME)


def main() -> None:
    """Measure a small and a large image."""
    with tempfile.TemporaryDirectory() as folder:
        small = write_simulated_drz(Path(folder) / "small_drz.fits", 560)
        large = write_drz(Path(folder) / "large_drz.fits", 2100)
        rows = [
            compare("simulated drz, 560 px, 1 tile", small, runs=15),
            compare("made drz, 2100 px, 16 tiles", large, runs=5),
        ]
    report("tiles", rows)


if __name__ == "__main__":
    main()
