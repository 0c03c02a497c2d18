"""A profile with a catalog, tiles on disk and a promoted run of a tiny model, for the tests of index and search."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import open_clip
import torch
import valid_catalog
from astropy.io import fits
from astropy.wcs import WCS
from safetensors.torch import save_file
from small_dataset import build, make_png, train_small_run
from stages import with_catalog

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import ModelSettings, Settings, read_settings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Observation, Product, Proposal, SplitAssignment, Tile
from hubbleclip.images.wcs import TileGeometry, tile_geometries
from hubbleclip.training.runs import read_run

NOW = datetime(2024, 1, 2, tzinfo=UTC)
KINDS = ("SPIRAL GALAXY", "GLOBULAR CLUSTER", "COMET", "PLANETARY NEBULA")
INSTRUMENTS = ("WFC3/UVIS", "WFC3/IR", "ACS/WFC")
NUM_PROPOSALS, TILES_EACH = 8, 6
NUM_TILES = NUM_PROPOSALS * TILES_EACH
SIZE_PX, SCALE_ARCSEC = 64, 0.04


def settings_of(data: Path, **overrides: Any) -> Settings:
    return read_settings("demo", {"data": str(data)}, overrides)


def tile_id_of(proposal: int, number: int) -> str:
    return hashlib.sha256(f"{proposal}:{number}".encode()).hexdigest()[:32]


IDS = [tile_id_of(proposal, number) for proposal in range(NUM_PROPOSALS) for number in range(TILES_EACH)]


def wcs_at(
    ra_deg: float, dec_deg: float, rotation_deg: float, size_px: int = SIZE_PX, scale_arcsec: float = SCALE_ARCSEC
) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra_deg, dec_deg], [size_px / 2 + 0.5] * 2
    c, s, scale = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg)), scale_arcsec / 3600
    wcs.wcs.cd = [[-scale * c, scale * s], [scale * s, scale * c]]
    return wcs


def geometry_at(ra_deg: float, dec_deg: float, rotation_deg: float) -> TileGeometry:
    (geometry,) = tile_geometries(wcs_at(ra_deg, dec_deg, rotation_deg), [(0, 0)], SIZE_PX)
    return geometry


def fits_header(text: str) -> fits.Header:
    return fits.Header.fromstring(text, sep="\n")


def sky_of(proposal: int, number: int) -> tuple[float, float]:
    """Proposals 3 degrees apart from RA 358 eastwards; the tiles of one are 20 arcsec apart."""
    return (358 + 3 * proposal) % 360, -30 + number * 20 / 3600


def proposal_row(proposal: int) -> Proposal:
    kind = KINDS[proposal % 4].lower()
    return replace(
        valid_catalog.proposal(str(proposal)),
        cycle=20 + proposal,
        category=("GALAXIES", "STARS")[proposal % 2],
        title=f"Study of a {kind}",
        abstract=f"We observe the {kind} number {proposal}. Its dust tells of its age.",
        pi=f"Dr. P{proposal} Nova",
    )


def rows_of(proposal: int, number: int, layout: Layout, settings: Settings) -> dict[str, Any]:
    """Rows of one observation with one product and one tile, whose picture is written to disk."""
    name, tile_id = f"{proposal}-{number}", tile_id_of(proposal, number)
    png = make_png(proposal * 100 + number, proposal)
    path = layout.tile(tile_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png)
    ra_deg, dec_deg = sky_of(proposal, number)
    geometry = geometry_at(ra_deg, dec_deg, 17.0 * number)
    instrument = {"instrument": INSTRUMENTS[number % 3]}
    of, place = {"obs_id": f"o{name}", "proposal_id": f"hst:{proposal}"}, {"ra_deg": ra_deg, "dec_deg": dec_deg}
    observed: Observation = valid_catalog.observation(
        **of | place | instrument,
        target_name=f"NGC-{100 + proposal}",
        target_class=f"{KINDS[proposal % 4]};BRIGHT",
        start_mjd=58000.0 + proposal,
        exposure_s=100.0 * (number + 1),
        is_moving=proposal % 4 == 2,
    )
    content = hashlib.sha256(name.encode()).hexdigest()
    fetched: Product = valid_catalog.product(f"mast:{name}", **of, sha256=content, file_name=f"{name}_drz.fits")
    tile: Tile = valid_catalog.tile(
        "a",
        **of | place | instrument,
        tile_id=tile_id,
        product_uri=f"mast:{name}",
        product_sha256=content,
        path=layout.relative(path),
        png_sha256=hashlib.sha256(png).hexdigest(),
        filter=("F606W", "F814W;CLEAR2L")[number % 2],
        wcs=geometry.wcs,
        corners_deg=geometry.corners_deg,
        size_px=SIZE_PX,
        settings_digest=settings.tiles.digest(),
    )
    split = ("train", "val", "test")[proposal % 3]
    assignment = SplitAssignment(tile_id=tile_id, group_id=f"g{proposal}", split=split, reason=None)
    return {"observation": [observed], "product": [fetched], "tile": [tile], "split": [assignment]}


PLACES = [sky_of(proposal, number) for proposal in range(NUM_PROPOSALS) for number in range(TILES_EACH)]
"""Positions of the tiles `IDS`."""


def add_tiles(settings: Settings, proposals: range, numbers: range) -> None:
    """Write tiles of proposals to disk and catalog, as a night does."""
    layout = with_catalog(Layout(settings.root))
    of_tiles = [rows_of(proposal, number, layout, settings) for proposal in proposals for number in numbers]
    rows = {name: [row for one in of_tiles for row in one[name]] for name in of_tiles[0]}
    with writing_catalog(layout) as catalog:
        catalog.upsert({"proposal": [proposal_row(proposal) for proposal in proposals]} | rows)


def small_model(folder: Path) -> ModelSettings:
    """Write a model that is trained and loaded in a tenth of the time of that of the demo."""
    vision = {"image_size": 96, "patch_size": 16, "layers": 1, "width": 64, "head_width": 32, "pool_type": "avg"}
    text = {"context_length": 77, "vocab_size": 49408, "layers": 1, "width": 16, "heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = open_clip.CLIP(64, vision, text).state_dict()
    filters = state["visual.conv1.weight"]
    filters -= filters.mean(dim=(1, 2, 3), keepdim=True)
    filters *= 8  # so that pictures have features of their own without training
    folder.mkdir()
    save_file(state, folder / "open_clip_model.safetensors")
    config = {"model_cfg": {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return ModelSettings(name=f"local-dir:{folder}")


def promote(settings: Settings, dataset_dir: Path, steps: int, at: datetime = NOW) -> Path:
    """Train a small run and promote it."""
    with TemporaryDirectory() as folder:
        run_dir = train_small_run(
            dataset_dir, Layout(settings.root).runs, steps, model=small_model(Path(folder, "small-model"))
        )
    run = read_run(run_dir).run
    promotion = replace(valid_catalog.promotion(run.run_id, None, None), decided_at=at)
    with writing_catalog(Layout(settings.root)) as catalog:
        catalog.upsert({"run": [run], "promotion": [promotion]})
    return run_dir


def make_site(data: Path) -> Settings:
    """Make a profile whose tiles are not indexed yet."""
    settings = settings_of(data)
    add_tiles(settings, range(NUM_PROPOSALS), range(TILES_EACH))
    promote(settings, build(data / "dataset", num_groups=8, num_test_groups=3), steps=4)
    return settings
