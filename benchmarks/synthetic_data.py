"""Synthetic images, files, samples and rows for the benchmarks, of the sizes and forms of real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from astropy.io import fits
from astropy.wcs import WCS

from hubbleclip.config.settings import TileSettings
from hubbleclip.contracts.schema import tables
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product, Sample, to_row
from hubbleclip.images.encode import encode_png
from hubbleclip.images.tiling import tile_file, to_tile_record
from hubbleclip.simulator.observations import SkySettings, make_proposals, observations_of, render_product

BORDER_PX = 20  # zero border that drizzling leaves
STAMP_PX = 25  # side of a star's cut-out


def star_field(side_px: int, seed: int) -> npt.NDArray[np.float32]:
    """Draw stars of many brightnesses on a sky of 5 with noise of sigma 1: (side_px, side_px)."""
    rng = np.random.default_rng(seed)
    data_yx = rng.normal(5, 1, (side_px, side_px)).astype(np.float32)
    y, x = np.mgrid[:STAMP_PX, :STAMP_PX] - STAMP_PX // 2
    # Moffat profile with beta 2.5 and a core radius of 2 px
    star_yx = (1 + (y**2 + x**2) / 4.0) ** -2.5
    for y0, x0 in rng.integers(0, side_px - STAMP_PX, (side_px**2 // 2000, 2)):
        data_yx[y0 : y0 + STAMP_PX, x0 : x0 + STAMP_PX] += 10 ** rng.uniform(1.5, 4) * star_yx
    return data_yx


def write_drz(path: Path, side_px: int) -> Path:
    """Write a drizzled image as in the archive: SCI with a zero border and a TAN WCS, WHT, CTX."""
    inside = np.zeros((side_px, side_px), bool)
    inside[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = True
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ("RA---TAN", "DEC--TAN"), (150.1, 2.2), (-1.4e-5, 1.4e-5)
    wcs.wcs.crpix = side_px / 2, side_px / 2
    science = wcs.to_header()
    science["BUNIT"] = "ELECTRONS/S"
    primary = {"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "UVIS", "FILTER": "F606W", "EXPTIME": 1200.0}
    hdus = [fits.PrimaryHDU(header=fits.Header(primary | {"NDRIZIM": 4, "FILETYPE": "SCI"}))]
    hdus.append(fits.ImageHDU(np.where(inside, star_field(side_px, 1), 0), science, name="SCI", ver=1))
    hdus.append(fits.ImageHDU(np.where(inside, 1200.0, 0).astype(np.float32), name="WHT", ver=1))
    hdus.append(fits.ImageHDU(np.where(inside, 15, 0).astype(np.int32), name="CTX", ver=1))
    fits.HDUList(hdus).writeto(path)
    return path


def write_flc(path: Path, shape_yx: tuple[int, int] = (2048, 4096)) -> Path:
    """Write two chips of one calibrated exposure: SCI with a SIP WCS, ERR, DQ with 1 % hot pixels and 8 bad columns.

    Cosmic rays hit 0.7 % of the pixels, as in ten minutes. All pixels are synthetic.
    """
    primary = {"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "UVIS", "FILTER": "F606W", "EXPTIME": 600.0}
    hdus: list[fits.PrimaryHDU | fits.ImageHDU] = [fits.PrimaryHDU(header=fits.Header(primary))]
    science = fits.Header({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 150.1, "CRVAL2": 2.2})
    science.update({"CRPIX1": 2048.0, "CRPIX2": 1024.0, "CD1_1": -1.1e-5, "CD2_2": 1.1e-5, "BUNIT": "ELECTRONS"})
    science.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 8e-6, "B_0_2": -5e-6, "A_1_1": 3e-6, "B_1_1": 2e-6})
    for chip in (1, 2):
        rng = np.random.default_rng(chip)
        data_yx = star_field(max(shape_yx), chip)[: shape_yx[0], : shape_yx[1]].copy()
        # DQ bits of WFC3: 16 is a hot pixel, 4 a bad detector pixel
        quality_yx = np.where(rng.random(shape_yx) < 0.01, 16, 0).astype(np.int16)
        quality_yx[:, rng.integers(0, shape_yx[1], 8)] |= 4
        data_yx[quality_yx > 0] += rng.exponential(40, np.count_nonzero(quality_yx)).astype(np.float32)
        _add_cosmic_rays(data_yx, rng)
        hdus += [
            fits.ImageHDU(data_yx, science, name="SCI", ver=chip),
            fits.ImageHDU(np.sqrt(np.abs(data_yx)), name="ERR", ver=chip),
            fits.ImageHDU(quality_yx, name="DQ", ver=chip),
        ]
    fits.HDUList(hdus).writeto(path)
    return path


def _add_cosmic_rays(data_yx: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    """Add straight tracks of cosmic rays of 1 to 11 pixels."""
    height, width = data_yx.shape
    for y, x in rng.integers(0, (height, width), (data_yx.size // 900, 2)):
        along, angle = np.arange(rng.integers(1, 12)), rng.uniform(0, 2 * np.pi)
        rows = np.rint(y + along * np.sin(angle)).astype(int).clip(0, height - 1)
        columns = np.rint(x + along * np.cos(angle)).astype(int).clip(0, width - 1)
        data_yx[rows, columns] += np.float32(rng.uniform(30, 2000))


def write_simulated_drz(path: Path, frame_px: int) -> Path:
    """Write the first drizzled image of the simulated archive."""
    sky = SkySettings(num_proposals=8, frame_px=frame_px)
    observations = (one for proposal in make_proposals(sky) for one in observations_of(sky, proposal))
    observation, product = next((o, p) for o in observations for p in o.products if p.file_name.endswith("_drz.fits"))
    path.write_bytes(render_product(sky, observation, product))
    return path


def make_pngs(num: int, side_px: int) -> list[bytes]:
    """Encode tiles of star fields, with noise as in real ones: 512 px take about 100 kB, 128 px about 7 kB."""
    fields = (star_field(side_px, seed) for seed in range(num))
    return [encode_png(np.clip(np.rint(12 * np.arcsinh((field - 2) / 4)), 0, 255).astype(np.uint8)) for field in fields]


def make_samples(pngs: Sequence[bytes], num: int, group_size: int) -> tuple[list[Sample], dict[str, bytes]]:
    """Make `num` train samples in groups that share a simulated abstract, and one more group each for val and test.

    Returns the samples, and their PNGs by tile id; the given PNGs are repeated in turn.
    """
    proposals = make_proposals(SkySettings(num_proposals=num // group_size + 2))
    splits = ["train"] * num + ["val"] * group_size + ["test"] * group_size
    hashes = [hashlib.sha256(png).hexdigest() for png in pngs]
    samples = []
    for index in range(len(splits)):
        proposal = proposals[index // group_size]
        samples.append(
            Sample(
                tile_id=hex_id(f"tile {index}"),
                split=splits[index],
                group_id=hex_id(proposal.number)[:16],
                proposal_id=f"made:{proposal.number}",
                archive="made",
                category=proposal.category,
                title=proposal.title,
                pi=proposal.pi,
                cycle=proposal.cycle,
                obs_id=f"made{index}",
                target_name="MADE",
                target_class="SIMULATED",
                is_moving=False,
                instrument="WFC3/UVIS",
                filter="F606W",
                ra_deg=150 + index / 7,
                dec_deg=2.2,
                corners_deg=[150 + index / 7, 2.2] * 4,
                pixel_scale_arcsec=0.04,
                valid_share=1.0,
                product_uri=f"made:{index}",
                product_sha256="0" * 64,
                png_sha256=hashes[index % len(pngs)],
                caption_kinds=["abstract", "title"],
                captions=[proposal.abstract, proposal.title],
            )
        )
    return samples, {sample.tile_id: pngs[index % len(pngs)] for index, sample in enumerate(samples)}


def hex_id(text: str) -> str:
    """Return 32 hex digits in no order, like the ids of tiles."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def make_tile_rows(num: int, folder: Path) -> pa.Table:
    """Make rows of the table `tile`: the record of one real cut, with different ids, paths and positions."""
    cut = tile_file(write_drz(folder / "made_drz.fits", 560), "0" * 64, TileSettings()).tiles[0]
    product = Product(
        uri="made:product",
        obs_id="made",
        proposal_id="made:1",
        file_name="made_drz.fits",
        kind="DRZ",
        size_bytes=1,
        choice="made",
        sha256="0" * 64,
    )
    row = to_row(to_tile_record(cut, product, Layout(folder), datetime(2024, 1, 1, tzinfo=UTC)))
    ids = [hex_id(f"tile {index}") for index in range(num)]
    columns = {
        "tile_id": ids,
        "path": [f"tiles/{one[:2]}/{one}.png" for one in ids],
        "png_sha256": [one * 2 for one in ids],
        "ra_deg": np.linspace(0, 360, num, endpoint=False),
    }
    schema = tables()["tile"].schema()
    arrays = [pa.array(columns.get(field.name, [row[field.name]] * num), type=field.type) for field in schema]
    return pa.table(arrays, schema=schema)
