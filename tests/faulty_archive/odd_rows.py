"""What MAST lists besides the images of a visit and their files: grism exposures, and rows of foreign files.

The foreign files do not exist in the simulated archive; a client that requests one gets status 404.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hubbleclip.simulator.observations import SimObservation
from hubbleclip.simulator.server.mast_tables import Row, product_row

HST, GRISM = "HST", "G800L"
GRISM_OFFSET = 15
"""Position of the grism exposure in its proposal's range of `obsid`, which no other observation uses."""
LEGACY_OBSID_STEP = 50_000_000
NUM_MEMBERS = 2


def with_grism(observations: Sequence[SimObservation]) -> Iterator[SimObservation]:
    """Add a grism exposure to the first visit of a proposal; as in MAST, its type is `image` too."""
    yield from observations
    for first in (item for item in observations[:1] if item.collection == HST):
        name = f"{first.obs_id[:6]}9{first.obs_id[7:]}"
        obsid = first.obsid - first.obsid % (GRISM_OFFSET + 1) + GRISM_OFFSET
        yield replace(first, obs_id=name, obsid=obsid, filters=f"{GRISM};CLEAR2L", em_min=550.0, em_max=1050.0)


def foreign_rows(observation: SimObservation) -> list[Row]:
    """Make the rows of files that MAST lists with an observation although they belong to something else."""
    if observation.collection != HST:
        return []
    own = product_row(observation, observation.products[0]) | {"size": 2_000_000}
    band = observation.band.lower()
    camera = observation.instrument.replace("/", "_").lower()
    visit = f"hst_{int(observation.proposal_number)}_{observation.obs_id.rpartition('_')[2][4:6]}_{camera}_{band}"
    cell = f"hst_skycell-p1153x11y01_{camera}_{band}_all"
    legacy = {"obs_collection": "HLA", "project": "HLA", "obsID": observation.obsid + LEGACY_OBSID_STEP}
    rows = [
        _renamed(own | legacy, f"{visit}_01", "drz.fits", "mast:HLA/url/cgi-bin/getdata.cgi?dataset="),
        _preview(_renamed(own | legacy, f"{visit}_01", "drz.jpg", "mast:HLA/url/cgi-bin/preview.cgi?dataset=")),
        _renamed(own | {"proposal_id": None, "project": "HAP-MVM"}, cell, "drc.fits"),
        *(_preview(_renamed(own, observation.obs_id.lower(), f"{kind}.jpg")) for kind in ("raw", "flt", "flc")),
    ]
    if observation.instrument.startswith("WFPC2"):
        rows.append(_renamed(own, observation.obs_id.lower(), "drz.fits"))
    if observation.is_hap:
        names = [f"{observation.obs_id}{number:02d}" for number in range(NUM_MEMBERS)]
        rows += [_renamed(own | {"calib_level": 2}, name, kind) for name in names for kind in ("drc.fits", "flc.fits")]
    return rows


def _renamed(row: Row, obs_id: str, suffix: str, prefix: str = "mast:HST/product/") -> Row:
    """Give a row the names of another file."""
    name = f"{obs_id}_{suffix}"
    kind = suffix.partition(".")[0].upper()
    return row | {
        "obs_id": obs_id,
        "productFilename": name,
        "dataURI": f"{prefix}{name}",
        "productSubGroupDescription": kind,
    }


def _preview(row: Row) -> Row:
    """Turn the row of a science file into that of a preview."""
    return row | {
        "productType": "PREVIEW",
        "productSubGroupDescription": None,
        "description": "Preview-Full",
        "size": None,
    }
