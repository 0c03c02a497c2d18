"""Time, tiles and disk of the profiles `hubble` and `paper`, computed from figures that were measured at MAST.

The tables between the markers of `docs/scaling.md` are replaced, so that no figure is typed by hand. The arithmetic is
that of `hubbleclip check-archive`, which measures the same figures again.
"""

from __future__ import annotations

from dataclasses import replace

from rich.filesize import decimal

from benchmarks.bench_scaling import PAGE
from hubbleclip.archives.check.estimate import duration, estimate, metadata_s
from hubbleclip.archives.check.probe import Measured
from hubbleclip.archives.http.client import LIMITS
from hubbleclip.config.settings import FetchSettings, read_settings

BEGIN, END = "<!-- real figures: python -m benchmarks.real_archive -->\n", "<!-- end of real figures -->\n"
BYTES_PER_S = 46.0e9 / 19_032
"""Speed of one connection: 46.0 GB in 19,032 s, in December 2025."""
DRIZZLED_BYTES = (214_300_800, 214_352_640, 214_404_480, 214_352_640, 214_300_800, 214_352_640, *[15_963_840] * 6)
"""Sizes in a product list of NGC 6543: drizzled images of ACS/WFC and ACS/HRC."""
FILE_BYTES = sum(DRIZZLED_BYTES) / len(DRIZZLED_BYTES)
PREVIEW_BYTES, PREVIEW_PIXELS = 2_305_486, 4543 * 4423
"""Preview of visit 01 of GO-15354, all filters."""
NUM_OBSERVATIONS = 1_700_000
NUM_PREVIEWS = 31_859
"""Size of the reference's dataset (arXiv 2403.08851)."""
NUM_FILES = 20 * 13_000
"""Upper bound: 20 files of each of 13,000 proposals."""
SECONDS_PER_LIST = (0.5, 2.0, 10.0, 30.0, 60.0)
HUBBLE = Measured(
    num_observations=NUM_OBSERVATIONS,
    page=(LIMITS.page_rows, 0.0),
    latency_s=0.0,
    list_s=0.0,
    bytes_per_s=BYTES_PER_S,
    files_each=NUM_FILES / NUM_OBSERVATIONS,
    file_bytes=FILE_BYTES,
    bytes_each=NUM_FILES / NUM_OBSERVATIONS * FILE_BYTES * 2 / 3,
    bytes_per_pixel=12.0,
)
"""A drizzled image has SCI, WHT and CTX of four bytes per pixel each, and CTX is not fetched."""
PAPER = Measured(
    num_observations=NUM_PREVIEWS,
    page=(LIMITS.page_rows, 0.0),
    latency_s=0.0,
    list_s=0.0,
    bytes_per_s=BYTES_PER_S,
    files_each=1,
    file_bytes=PREVIEW_BYTES,
    bytes_each=PREVIEW_BYTES,
    bytes_per_pixel=PREVIEW_BYTES / PREVIEW_PIXELS,
)


def profile_table() -> str:
    """Format the table of the profiles."""
    names = "profile", "files", "to fetch", "8 connections", "whole files", "tiles", "disk of files", "disk of tiles"
    rows = [f"| {' | '.join(names)} |", f"|---|{'---:|' * (len(names) - 1)}"]
    for profile, measured in (("hubble", HUBBLE), ("paper", PAPER)):
        settings = read_settings(profile)
        made, whole = (
            estimate(replace(measured, bytes_each=bytes_each), settings.fetch, settings.tiles)
            for bytes_each in (measured.bytes_each, (measured.files_each or 0) * (measured.file_bytes or 0))
        )
        assert made is not None and whole is not None
        times = duration(made.files_s), duration(whole.files_s)
        disk = decimal(round(made.file_bytes)), decimal(round(made.tile_bytes))
        cells = (
            f"`{profile}`",
            f"{made.num_files:,}",
            decimal(round(made.fetched_bytes)),
            *times,
            f"{made.num_tiles:,}",
            *disk,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def metadata_table() -> str:
    """Format the time of all metadata as a function of the seconds per request."""
    fetch = FetchSettings()
    times = [metadata_s(NUM_OBSERVATIONS, each, each, fetch) for each in SECONDS_PER_LIST]
    head = " | ".join(f"{each:g} s" for each in SECONDS_PER_LIST)
    return (
        f"| seconds per page and per list | {head} |\n|---|{'---:|' * len(times)}\n"
        f"| metadata of {NUM_OBSERVATIONS / 1e6:g} M observations | {' | '.join(map(duration, times))} |\n"
    )


def tables() -> str:
    """Format both tables."""
    return f"{profile_table()}\n{metadata_table()}"


def main() -> None:
    """Print the tables, and write them into the page."""
    text = tables()
    print(text)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{text}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
