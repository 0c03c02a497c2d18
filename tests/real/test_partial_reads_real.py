"""Tiles of real files without the extensions that no stage reads are equal to those of the whole files."""

from pathlib import Path

import pytest

from hubbleclip.config.settings import TileSettings
from hubbleclip.fits import sieve
from hubbleclip.fits.integrity import content_problem
from hubbleclip.images.tiling import tile_file

DATA = Path(__file__).parents[2].parent / "shared/data"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")]
FILES = sorted(DATA.glob("hst_fits/i*_drz.fits"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_tiles_of_the_needed_extensions_are_equal(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieve, "MIN_SKIP_BYTES", 2880)  # the extensions of these cutouts have 1.1 MB
    needed, state = sieve.filtered(path.read_bytes())
    assert state.num_skipped > 0.25 * path.stat().st_size
    assert content_problem(needed, ".fits", len(needed)) is None
    copy = tmp_path / path.name
    copy.write_bytes(needed)
    whole, part = (tile_file(one, "0" * 64, TileSettings(), path.name) for one in (path, copy))
    assert whole.tiles
    assert [tile.encoded for tile in whole.tiles] == [tile.encoded for tile in part.tiles]
    assert [tile.geometry for tile in whole.tiles] == [tile.geometry for tile in part.tiles]
