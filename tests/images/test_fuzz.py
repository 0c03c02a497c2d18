"""Two thousand damaged FITS files: each becomes tiles or a rejection, within a bound of time and memory."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fuzz_worker
import numpy as np
import pytest
from astropy.io import fits
from synthetic_fits import starry_sky, wcs_header, with_sip, write_drz

from hubbleclip.images.wcs import PLANE_COLUMNS

NUM_CASES, NUM_WORKERS = 2000, 2
PEAK_KB = 900_000
REAL_DIR = Path(__file__).parents[2].parent / "shared/data/hst_fits"


def write_seeds(folder: Path) -> None:
    data, header = starry_sky((150, 180), num_stars=40), wcs_header((150, 180))
    primary = {"RA_TARG": 150.1, "DEC_TARG": 2.2}
    quality = np.random.default_rng(1).choice(np.array([0, 0, 0, 16, 256], np.int16), data.shape)
    write_drz(folder / "drz.fits", data, primary=primary, WHT=np.abs(data), CTX=np.ones(data.shape, np.int32))
    write_drz(folder / "flt.fits", data, primary=primary | {"NDRIZIM": 0}, ERR=data, DQ=quality)
    write_drz(folder / "raw.fits", np.clip(data, 0, 60000).astype(np.uint16), primary={"NDRIZIM": 0})
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, header, compression_type="RICE_1", name="SCI")]).writeto(
        folder / "rice.fits"
    )
    (folder / "drz.fits.gz").write_bytes(gzip.compress((folder / "drz.fits").read_bytes(), mtime=0))
    scaled = fits.PrimaryHDU(data, header)
    scaled.scale("int16", bscale=0.25, bzero=2000)
    scaled.writeto(folder / "int16.fits")
    fits.PrimaryHDU(data.astype(np.float64), with_sip(header)).writeto(folder / "sip.fits")
    columns = [fits.Column(name, "D", array=np.full(4, 1.0)) for name in PLANE_COLUMNS]
    cube = fits.PrimaryHDU(np.stack([data] * 4), header)
    cube.header["INSTRUME"] = "WFPC2"
    fits.HDUList([cube, fits.TableHDU.from_columns(columns)]).writeto(folder / "cube_c0f.fits")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    write_seeds(folder)
    for path in sorted(REAL_DIR.glob("*.fits*")):
        if path.stat().st_size < 250_000:
            (folder / f"real-{path.name}").write_bytes(path.read_bytes())
    return folder


def test_every_seed_gives_tiles_before_it_is_damaged(seeds):
    outcomes = {
        path.name: fuzz_worker.cut(path) for path in sorted(seeds.iterdir()) if not path.name.startswith("real")
    }
    assert {name: outcome for name, outcome in outcomes.items() if outcome not in {"tiles", "rejections"}} == {}


def run_worker(seeds: Path, first: int, last: int, work_dir: Path) -> subprocess.CompletedProcess[str]:
    work_dir.mkdir()
    worker = [sys.executable, fuzz_worker.__file__, str(seeds), str(first), str(last), str(work_dir)]
    return subprocess.run(worker, capture_output=True, text=True, check=False)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_a_damaged_file_becomes_tiles_or_a_rejection_and_nothing_else(seeds, tmp_path):
    step = NUM_CASES // NUM_WORKERS
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        runs = list(
            pool.map(lambda n: run_worker(seeds, n * step, (n + 1) * step, tmp_path / str(n)), range(NUM_WORKERS))
        )
    lines = [line.partition(" ") for run in runs for line in run.stdout.splitlines()]
    assert [line for line in lines if line[2].startswith("crash")] == []
    assert [run.returncode for run in runs] == [0] * NUM_WORKERS, [run.stderr[-500:] for run in runs]
    assert max(int(outcome) for name, _, outcome in lines if name == "peak_kb") < PEAK_KB
    counted = Counter(outcome for name, _, outcome in lines if name != "peak_kb")
    assert sum(counted.values()) == NUM_CASES and counted["tiles"] > NUM_CASES // 10 and len(counted) > 5
