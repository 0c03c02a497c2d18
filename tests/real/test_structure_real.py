"""Real files through the structure checks: whole ones pass, odd ones are named, and astropy agrees on the sums."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from astropy.io import fits

from hubbleclip.core.layout import product_suffix
from hubbleclip.fits.integrity import content_problem

DATA = Path(__file__).parents[2].parent / "shared/data"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data at {DATA} are absent")]
HST = sorted((DATA / "hst_fits").glob("*.fits*"))
ODD = sorted((DATA / "odd_fits").glob("*.fits*"))
PICTURES = sorted((DATA / "esahubble/images").glob("*.jp*g"))
BAD = {
    "HST_FOC_gitlfs_pointer.fits": "damaged",
    "Npix132.fits": "truncated",
    "header_newlines.fits": "checksum",
    "s7g1700gl_dead_bad_xsum.fits": "checksum",
    "truncated.fits": "truncated",
}
PIPELINE = [path for path in HST if path.stem.endswith(("_drz", "_drc", "_flc", "_flt", "_raw"))]
"""Files as the archive has them, which cutouts and high-level products are not."""


def reason(path: Path, listed_bytes: int | None = None) -> str | None:
    problem = content_problem(path, product_suffix(path.name), listed_bytes)
    return problem.reason if problem else None


@pytest.mark.parametrize("path", HST + ODD, ids=lambda path: path.name)
def test_a_file_of_its_listed_size_is_refused_only_where_it_is_bad(path: Path) -> None:
    assert reason(path, path.stat().st_size) == BAD.get(path.name)


@pytest.mark.parametrize("path", HST + ODD, ids=lambda path: path.name)
def test_sums_are_bad_where_astropy_calls_them_bad(path: Path) -> None:
    if BAD.get(path.name, "checksum") != "checksum":
        pytest.skip("astropy cannot walk it")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with fits.open(path, checksum=True, disable_image_compression=True) as file:
            len(file)
    is_bad = any("verification failed" in str(warning.message) for warning in said)
    assert (reason(path, path.stat().st_size) == "checksum") == is_bad


@pytest.mark.parametrize("path", PIPELINE, ids=lambda path: path.name)
def test_a_pipeline_file_passes_without_a_listed_size_and_no_cut_of_it_does(path: Path, tmp_path: Path) -> None:
    if path.name != "test_drizzlepac_flt.fits":  # cut down by hand: 5 of 15 extensions
        assert reason(path) is None
    data, cut = path.read_bytes(), tmp_path / path.name
    for end in {2880, len(data) // 2 // 2880 * 2880, len(data) - 2880, len(data) - 1}:
        cut.write_bytes(data[:end])
        assert reason(cut) == "truncated"


def test_real_pictures_are_whole_and_their_halves_are_not(tmp_path: Path) -> None:
    cut = tmp_path / "x.jpg"
    for path in PICTURES:
        assert reason(path) is None, path.name
        cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert reason(cut) == "truncated", path.name
