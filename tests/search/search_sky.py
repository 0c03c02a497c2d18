"""A small archive with the odd cases of a large one: several missions, moving targets, near-duplicates, unknown facts.

The features of its model have 16 values of 0.25, so that similarities are the same on every machine.
"""

import hashlib
import io
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import valid_catalog
from astropy.io import fits
from PIL import Image
from search_site import wcs_at

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Run, SplitAssignment
from hubbleclip.images.wcs import tile_geometries
from hubbleclip.missions.base import PARALLEL
from hubbleclip.search.open_index import CurrentIndex, open_store, write_current

SIZE_PX, SCALE_ARCSEC = 32, 1.0
RUN = valid_catalog.RUNS[0]
KINDS = {"spiral": 10, "globular": 60, "comet": 110, "ring": 160}
"""Level of the first pixel of a picture, by the word that finds it."""
PROPOSALS: dict[str, tuple[Any, ...]] = {
    "hst:10001": ("Spiral arms and dust", "Spiral arms. Dust lanes trace the arms.", "Ada Nova", 15, "GALAXIES"),
    "hst:10002": ("Ages of clusters", "The age of a globular cluster.", "O'Neil, B.", 16, "Stars"),
    "hst:10003": ("A comet near Jupiter", None, None, None, None),
    "jwst:1345": ("Early galaxies", "A spiral galaxy <b>of the early</b> universe.", "Nova, C.", 1, "Galaxies"),
    "simulated:7": ("A ring of gas", "A planetary nebula sheds a ring of gas and dust.", "S. Imulator", 2, "STARS"),
}
"""Title, abstract, investigator, cycle and category."""
SPLITS = {"hst:10001": "train", "hst:10002": "val", "jwst:1345": "test"}
GALAXY, CLUSTER, COMET = "GALAXY;SPIRAL", "STELLAR CLUSTER; ;Globular", "SOLAR SYSTEM;COMET"
M51, TUC, FIELD, RING = (202.47, 47.195), (6.02, -72.08), (53.1, -27.8), (283.4, 33.0)
OFF = {"note": PARALLEL}
Tile = tuple[str, str, int, str | None, str | None, str | None, str | None, tuple[float, float] | None, dict[str, Any]]
TILES: list[Tile] = [
    ("hst:10001", "spiral", 0, "M51", GALAXY, "ACS/WFC", "F606W", M51, {"exposure_s": 340.0}),
    ("hst:10001", "spiral", 0, "M51", GALAXY, "ACS/WFC", "F814W", (202.47, 47.1958), {"exposure_s": 1000.0}),
    ("hst:10001", "spiral", 1, "M51", GALAXY, "ACS/WFC", "F814W", (202.47, 47.1985), {"start_mjd": 53200.5}),
    ("hst:10001", "spiral", 2, "M51", GALAXY, "ACS/WFC", "CLEAR1L;F435W", (202.47, 47.1965), {"start_mjd": 54000.0}),
    ("hst:10001", "comet", 3, "M51", GALAXY, "WFC3/IR", "F160W", (202.47, 47.21), OFF | {"start_mjd": None}),
    ("hst:10002", "globular", 5, "47-TUC", CLUSTER, "WFC3/UVIS", "F606W", TUC, {"exposure_s": 35.5, "roll_deg": 40.0}),
    ("hst:10002", "globular", 6, "47-TUC", CLUSTER, "WFPC2/WFC", "F555W", (6.02, -72.0785), {"exposure_s": None}),
    ("hst:10002", "globular", 7, "NGC 7801", CLUSTER, "WFPC2/WFC", "F555W", None, {"start_mjd": 49000.0}),
    ("hst:10002", "globular", 8, "NGC 7801", CLUSTER, "WFPC2/WFC", "F675W", (359.999, 0.001), {"exposure_s": 9.5}),
    ("hst:10002", "globular", 8, "NGC 7801", CLUSTER, "WFPC2/WFC", "F675W", (0.0, 0.0), {"exposure_s": 0.35}),
    ("hst:10003", "comet", 10, "COMET-67P", COMET, "ACS/WFC", "F606W", (83.8, -5.4), {"is_moving": True}),
    ("hst:10003", "comet", 11, "COMET-67P", COMET, "ACS/WFC", "F814W", (83.8, -5.4), {"is_moving": True}),
    ("hst:10003", "comet", 12, None, None, "FGS", None, (83.9, -5.4), {"exposure_s": None, "start_mjd": None}),
    ("jwst:1345", "spiral", 13, "FIELD", GALAXY, "NIRCAM", "F200W", FIELD, {"pixel_scale_arcsec": 0.5}),
    ("jwst:1345", "spiral", 13, "FIELD", "", "NIRCAM", "F200W", (53.12, -27.8), {"pixel_scale_arcsec": None}),
    ("simulated:7", "ring", 15, "RING-1", "SIMULATED;PLANETARY NEBULA;BRIGHT", "WFC3/UVIS", "F656N", RING, {}),
    ("simulated:7", "ring", 16, "RING-1", "SIMULATED", "WFC3/UVIS", "F656N", (10.0, 89.9999), {"view": "overview"}),
    ("hst:10002", "globular", 17, "47-TUC", CLUSTER, "WFC3/UVIS", "F606W", (6.03, -72.08), {}),
]
"""Proposal, kind, number of the picture, target and its class, camera, filter, position, and other facts; the last one
is not indexed."""
IDS = [f"{0xA0 + number:02x}" * 16 for number in range(len(TILES))]
LOST, UNSEEN, DAMAGED = "c0" * 16, 14, 16
"""A tile that the index has and the catalog has not; numbers of those whose pictures are missing or damaged."""


def vector_of(content: bytes, num: int) -> np.ndarray:
    """Draw one of four positions and a sign for each of `num` blocks."""
    feature = np.zeros((num, 4), np.float32)
    for block, byte in zip(feature, hashlib.sha256(content).digest(), strict=False):
        block[byte & 3] = 0.25 if byte & 4 else -0.25
    return feature.ravel()


def feature_of(kind: object, content: bytes) -> np.ndarray:
    """Things of one kind share three quarters of their features."""
    return np.concatenate([vector_of(f"{kind}".encode(), 12), vector_of(content, 4)])


def picture_of(kind: str, number: int) -> np.ndarray:
    y, x = np.indices((SIZE_PX, SIZE_PX))
    levels = ((y * (number + 3) + x * x) % 90 + 20 * number % 160).astype(np.uint8)
    levels[0, 0] = KINDS[kind]
    return levels


class MadeModel:
    """A model as the search loads it."""

    model = SimpleNamespace(to=lambda *_: None)
    image_size, context_length = SIZE_PX, 16

    def tokenizer(self, texts: list[str], context_length: int = 16) -> torch.Tensor:
        rows = [[len(word) for word in text.split()][: context_length - 2] for text in texts]
        return torch.tensor([row + [0] * (context_length - len(row)) for row in rows])

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        kinds = [next((KINDS[word] for word in text.lower().split() if word in KINDS), text) for text in texts]
        return torch.from_numpy(
            np.stack([feature_of(*pair) for pair in zip(kinds, map(str.encode, texts), strict=True)])
        )

    def encode_images(self, levels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.stack([feature_of(int(one[0, 0, 0]), one.numpy().tobytes()) for one in levels]))


def place_of(position: tuple[float, float] | None, roll_deg: float, scale_arcsec: float) -> dict[str, Any]:
    """The columns of a tile that say where it is."""
    if position is None:
        return {"ra_deg": None, "dec_deg": None, "corners_deg": [], "wcs": None}
    (found,) = tile_geometries(wcs_at(*position, roll_deg, SIZE_PX, scale_arcsec), [(0, 0)], SIZE_PX)
    sky = dict(zip(("ra_deg", "dec_deg"), position, strict=True))
    return sky | {"corners_deg": found.corners_deg, "wcs": found.wcs}


def make_sky(layout: Layout) -> None:
    """Write catalog, pictures and index."""
    rows: dict[str, list[Any]] = {name: [] for name in ("proposal", "observation", "product", "tile", "split")}
    for key, (title, abstract, pi, cycle, category) in PROPOSALS.items():
        archive, _, number = key.partition(":")
        values = {"title": title, "abstract": abstract, "pi": pi, "cycle": cycle, "category": category}
        rows["proposal"].append(replace(valid_catalog.proposal(number), proposal_id=key, archive=archive, **values))
    features = []
    for number, (proposal, kind, picture, target, named, camera, band, position, given) in enumerate(TILES):
        of = {"obs_id": f"j{number:02}", "proposal_id": proposal}
        seen = {"exposure_s": 100.0 + number, "start_mjd": 53000.25 + 10 * number, "is_moving": False} | given
        scale = seen.setdefault("pixel_scale_arcsec", SCALE_ARCSEC)
        place = place_of(position, seen.get("roll_deg", 0.0), scale or SCALE_ARCSEC)
        sky = {name: place[name] for name in ("ra_deg", "dec_deg")}
        about = {name: seen[name] for name in ("exposure_s", "start_mjd", "is_moving")}
        about |= {"target_name": target, "target_class": named, "instrument": camera, "filters": band}
        rows["observation"].append(
            valid_catalog.observation(**of, **sky, **about, footprint=f"CIRCLE ICRS {number} 1 1")
        )
        path, levels = layout.tile(IDS[number]), picture_of(kind, picture)
        path.parent.mkdir(parents=True, exist_ok=True)
        if number != UNSEEN:
            Image.fromarray(levels).save(path)
        if number == DAMAGED:
            path.write_bytes(b"damaged")
        uri = f"mast:HST/product/j{number:02}_drz.fits"
        kept = {name: seen.get(name) for name in ("note", "view", "pixel_scale_arcsec")}
        tile = valid_catalog.tile("a", **of, **place, **kept, tile_id=IDS[number], product_uri=uri, instrument=camera)
        rows["tile"].append(replace(tile, path=layout.relative(path), size_px=SIZE_PX, filter=band))
        if split := SPLITS.get(proposal):
            rows["split"].append(SplitAssignment(tile_id=IDS[number], group_id=proposal, split=split, reason=None))
        features.append(feature_of(int(levels[0, 0]), levels.tobytes()))
    file = layout.root / "products/j03_drz.fits"
    file.parent.mkdir(parents=True)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(picture_of("spiral", 2))]).writeto(file)
    rows["product"].append(
        valid_catalog.product(
            "mast:HST/product/j03_drz.fits", obs_id="j03", proposal_id="hst:10001", path=layout.relative(file)
        )
    )
    run = valid_catalog.make(Run, run_id=RUN, model="made-model", dataset_digest="d" * 32)
    with writing_catalog(layout) as catalog:
        catalog.upsert(rows | {"run": [run], "promotion": [valid_catalog.promotion(RUN, None, None)]})
    store = open_store(layout, "e" * 32)
    store.append([*IDS[:9], LOST], np.stack([*features[:9], features[3]]))
    store.append(IDS[9:-1], np.stack(features[9:-1]))
    store.close()
    write_current(
        layout, CurrentIndex(model_digest="e" * 32, run=f"runs/{RUN}", store="embedded", tiles={}, num_tiles=17)
    )
    os.utime(layout.current_index, (1_700_000_000, 1_700_000_000))


def png_of(number: int) -> bytes:
    """The picture of a tile, as a person would upload it."""
    content = io.BytesIO()
    Image.fromarray(picture_of(TILES[number][1], TILES[number][2])).save(content, "PNG")
    return content.getvalue()
