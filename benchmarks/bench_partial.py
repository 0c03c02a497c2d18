"""Bytes and time of fetching only the extensions that are read, against whole files.

Eight connections of 2.4 MB/s each, the speed at which MAST sent 46.0 GB in 19,032 s over one connection in December
2025. The files have 16 MB, as a drizzled image of ACS/HRC has, and the extensions of three kinds of product.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from astropy.io import fits

from benchmarks.measure import Row, each, report, seconds_row, sized, time_in_turn
from benchmarks.slow_server import slow_server
from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.http.download import DownloadRequest, fetch_file
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.layout import Layout

BYTES_PER_S = 46.0e9 / 19_032
FETCH = FetchSettings(connections=8)
NUM_FILES = FETCH.connections
RUNS = sized(3, 1)
PEER = "whole files"
KINDS: dict[str, tuple[int, Sequence[str]]] = {
    "HST drizzled, SCI WHT CTX": (1150, ("SCI", "WHT", "CTX")),
    "HST exposure, 2 x SCI ERR DQ": (890, ("SCI", "ERR", "DQ") * 2),
    "JWST i2d, SCI ERR CON WHT 3 x VAR": (760, ("SCI", "ERR", "CON", "WHT", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")),
}
"""Side of an extension in pixels, and the names of the extensions, by kind of file."""
TYPES = {"CTX": np.int32, "CON": np.int32, "DQ": np.int16}


def write_file(path: Path, side_px: int, names: Sequence[str]) -> None:
    """Write a file of noise with checksums."""
    rng = np.random.default_rng(sum(path.name.encode()))
    hdus = [fits.PrimaryHDU(header=fits.Header({"FILENAME": path.name, "NEXTEND": len(names)}))]
    for name in names:
        pixels = rng.normal(100, 9, (side_px, side_px)).astype(TYPES.get(name, np.float32))
        hdus.append(fits.ImageHDU(pixels, name=name))
    fits.HDUList(hdus).writeto(path, checksum=True)


def compare(name: str, url: str, paths: Sequence[Path]) -> list[Row]:
    """Measure seconds and bytes of one kind of file."""
    sent: dict[bool, int] = {}

    def contender(*, whole_files: bool) -> Callable[[Path], Iterator[Callable[[], object]]]:
        def prepared(folder: Path) -> Iterator[Callable[[], object]]:
            transport = Transport(FETCH.model_copy(update={"whole_files": whole_files}))

            def fetch(path: Path) -> None:
                size = path.stat().st_size
                request = DownloadRequest(
                    uri=f"mast:{path.name}", file_name=path.name, size_bytes=size, layout=Layout(folder)
                )
                fetch_file(transport, f"{url}/{path.name}", request)

            before = num_sent(url)
            with ThreadPoolExecutor(FETCH.connections) as pool:
                yield lambda: list(pool.map(fetch, paths))
            sent[whole_files] = num_sent(url) - before

        return prepared

    ours, theirs = (contextmanager(contender(whole_files=whole)) for whole in (False, True))
    seconds = time_in_turn(f"{len(paths)} files, {name}", ours, theirs, runs=RUNS)
    megabytes = {whole: round(num_bytes / 1e6, 1) for whole, num_bytes in sent.items()}
    num_bytes = Row(
        name=name,
        unit="MB",
        ours=megabytes[False],
        peer=megabytes[True],
        peer_name=PEER,
        ratio=round(megabytes[True] / megabytes[False], 3),
        runs=RUNS,
        spread=0.0,
    )
    return [seconds_row(name, seconds, PEER), num_bytes]


def num_sent(url: str) -> int:
    """Ask the server for the bytes that it has sent."""
    with urlopen(f"{url}/sent") as response:
        return int(response.read())


def main() -> None:
    """Measure each kind of file."""
    rows: list[Row] = []
    for name, (side_px, extensions) in each(list(KINDS.items()), lambda item: item[0]):
        with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
            paths = [Path(folder) / f"{number}_drz.fits" for number in range(NUM_FILES)]
            for path in paths:
                write_file(path, side_px, extensions)
            with slow_server(Path(folder), BYTES_PER_S) as url:
                rows += compare(name, url, paths)
    report("partial", rows)


if __name__ == "__main__":
    main()
