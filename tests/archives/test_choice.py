"""The choice of one file for each visit, camera, filter and target, and the reasons for all that is left out."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.mast.product_selection import select_products
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.records import Observation
from hubbleclip.missions.hst import HST
from tests.archives.conftest import observation as observation_of_row

SETTINGS = ArchiveSettings()
VISIT = "hst_12675_02_wfc3_uvis_f606w_ibol02"
LEGACY = "hst_12675_02_wfc3_uvis_f606w"


def observation(obs_id: str = "ibol02010", **row: object) -> Observation:
    number = sum(ord(letter) * 31**i for i, letter in enumerate(obs_id)) % 10**9
    seen = {"obsid": number, "instrument_name": "WFC3/UVIS", "filters": "F606W", "target_name": "M51"}
    return observation_of_row(obs_id=obs_id, **seen | row)


def file_of(owner: Observation, kind: str, **row: object) -> dict[str, Any]:
    name = f"{owner.obs_id.lower()}_{kind}.fits"
    return {
        "obsID": owner.obsid,
        "obs_id": owner.obs_id,
        "dataURI": f"mast:HST/product/{name}",
        "productType": "SCIENCE",
        "productFilename": name,
        "productSubGroupDescription": kind.upper(),
        "size": 10,
        "parent_obsid": owner.obsid,
        **row,
    }


def chosen(
    observations: list[Observation], rows: list[dict[str, Any]], settings: ArchiveSettings = SETTINGS
) -> tuple[list[str], dict[str, str]]:
    """File names, and the reason of each observation without one."""
    products, rejections = select_products(observations, rows, settings, HST, {})
    return sorted(item.file_name for item in products), {item.entity_id: item.reason for item in rejections}


def best_first() -> list[tuple[Observation, str]]:
    """One file of each entry of the ranking in a visit of WFC3, best first, without totals and images of no kind."""
    advanced, exposure, legacy = observation(VISIT), observation(VISIT + "bv"), observation(LEGACY)
    owners = {"advanced": advanced, "exposure": exposure, "calibrated": observation(), "legacy": legacy}
    return [(owners[made_of], kind) for made_of, kind in HST.products.order if made_of in owners and kind != "jpg"]


@given(st.sets(st.integers(0, len(best_first()) - 1), min_size=1), st.randoms())
def test_the_best_file_by_the_written_order_is_taken_whatever_the_order_given(places: set[int], rng) -> None:
    files = [best_first()[place] for place in sorted(places)]
    observations = list({owner.obs_id: owner for owner, _ in files}.values())
    rows = [file_of(owner, kind) for owner, kind in files]
    rng.shuffle(rows)
    rng.shuffle(observations)
    names, reasons = chosen(observations, rows)
    owner, kind = files[0]
    assert names == [f"{owner.obs_id.lower()}_{kind}.fits"]
    assert reasons == {item.obs_id: "covered" for item in observations if item.obs_id != owner.obs_id}


def visits(num: int) -> tuple[list[Observation], list[dict[str, Any]]]:
    observations = [observation(f"ibol{i:02d}010") for i in range(num)]
    return observations, [file_of(item, "drz") for item in observations]


def limited(most: int) -> ArchiveSettings:
    return SETTINGS.model_copy(update={"max_products_per_proposal": most})


@given(st.integers(1, 12), st.integers(1, 12), st.randoms())
def test_the_draw_grows_with_the_limit_and_shrinks_to_a_part_of_itself(one: int, two: int, rng) -> None:
    observations, rows = visits(12)
    rng.shuffle(observations)
    few, many = (set(chosen(observations, rows, limited(most))[0]) for most in sorted((one, two)))
    assert few <= many
    assert (len(few), len(many)) == tuple(sorted((one, two)))


@given(st.integers(1, 8), st.integers(1, 12))
def test_taken_files_stay_when_more_observations_come(most: int, num_early: int) -> None:
    observations, rows = visits(12)
    early, _ = select_products(observations[:num_early], rows[:num_early], limited(most), HST, {})
    taken = {"hst:12675": frozenset(item.obs_id for item in early)}
    later, rejections = select_products(observations, rows, limited(most), HST, taken)
    assert {item.uri for item in early} <= {item.uri for item in later}
    assert len(later) == most
    assert {item.reason for item in rejections} <= {"over_limit"}
