"""Optional contents of the simulated archive, each enabled by a setting of its own."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from functools import cache

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from hubbleclip.simulator.observations import (
    SimObservation,
    SimProduct,
    SkySettings,
    make_proposals,
    observations_of,
    render_product,
)
from hubbleclip.simulator.server.mast_tables import product_row
from hubbleclip.simulator.server.product_store import ArchiveStore

SMALL = SkySettings(num_proposals=60, frame_px=64)
ADVANCED = re.compile(r"hst_(\d{5})_(\w\w)_(acs|wfc3)_(wfc|uvis|ir)_(total|f\w+)_([ij]\w{5})")


def settings(**changes: object) -> SkySettings:
    return SkySettings.model_validate(SMALL.model_dump() | changes)


@cache
def observations(sky: SkySettings) -> dict[str, SimObservation]:
    return {item.obs_id: item for proposal in make_proposals(sky) for item in observations_of(sky, proposal)}


def first(sky: SkySettings, ending: str) -> tuple[SimObservation, SimProduct]:
    found = ((item, one) for item in observations(sky).values() for one in item.products)
    return next(pair for pair in found if pair[1].file_name.endswith(ending))


def test_the_contents_of_the_demo_do_not_change() -> None:
    facts = [
        [item.obs_id, item.obsid, item.filters, item.released_mjd, item.calib_level, item.exposure_s, item.target_name]
        + [(product.uri, product.kind, product.size_bytes) for product in item.products]
        for item in observations(SkySettings()).values()
    ]
    assert len(facts) == 847
    assert hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16] == "50ad4d674057a83b"


@pytest.mark.parametrize("num", [1, 7, 16])
def test_each_proposal_has_the_configured_number_of_observations(num: int) -> None:
    sky = settings(observations_per_proposal=num, nights=2)
    found = observations(sky)
    assert set(Counter(item.proposal_number for item in found.values()).values()) == {num}
    assert len(found) == len({item.obsid for item in found.values()}) == num * 120
    assert len({(item.obs_id[:6], item.band) for item in found.values()}) == len(found)
    nights = [
        {int(item.released_mjd) for item in list(found.values())[part]}
        for part in (slice(60 * num), slice(60 * num, None))
    ]
    assert nights == [{60000}, {60001}]


def test_advanced_products_repeat_each_filter_of_a_visit_and_add_its_total() -> None:
    plain, found = observations(SMALL), observations(settings(hap_share=1.0))
    assert {name: found[name] for name in plain} == plain
    added = {name: item for name, item in found.items() if name not in plain}
    members = Counter(item.obs_id[:6] for item in plain.values())
    assert len(added) > 40
    assert len({item.obsid for item in found.values()}) == len(found)
    for name, item in added.items():
        match = ADVANCED.fullmatch(name)
        assert match is not None, name
        assert (item.proposal_number, item.calib_level) == (match[1], 3)
        assert item.filters == ("detection" if match[5] == "total" else match[5].upper())
        assert not item.is_moving
        assert match[6][4:] == match[2]
    totals = Counter(name.rpartition("_")[2] for name in added)
    assert all(num == members[visit] + 1 for visit, num in totals.items())


@pytest.mark.parametrize("ending", ["drz.jpg", "flt.jpg", "flc.jpg", "c0m.jpg", "color.jpg"])
def test_previews_are_jpegs_of_the_listed_size_that_end_with_their_marker(ending: str) -> None:
    sky = settings(previews=True)
    item, product = first(sky, ending)
    data = render_product(sky, item, product)
    assert len(data) == product.size_bytes
    assert data.endswith(b"\xff\xd9")
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.mode) == ("JPEG", "RGB" if ending == "color.jpg" else "L")
    assert np.asarray(picture).std() > 2
    assert product_row(item, product)["productType"] == "PREVIEW"


@pytest.mark.parametrize("ending", ["drz.fits", "flt.fits", "spt.fits", "drz.jpg"])
def test_another_version_has_other_bytes_and_another_etag(ending: str) -> None:
    sky = settings(reprocessed_share=1.0, nights=2)
    store, (item, product) = ArchiveStore(sky), first(sky, ending)
    before = observations(settings(nights=2))[item.obs_id]
    original = next(one for one in before.products if one.uri == product.uri)
    data = render_product(sky, item, product)
    assert len(data) == product.size_bytes
    assert data != render_product(sky, before, original)
    assert store.etag(item, product) != store.etag(before, original)
    assert (product_row(before, original)["prvversion"], product_row(item, product)["prvversion"]) == (None, "1.1")
    if ending.endswith("fits"):
        assert fits.getheader(io.BytesIO(data))["CAL_VER"] == "1.1"
