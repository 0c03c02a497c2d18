"""Metadata of the simulated archive: deterministic, random-access, consistent, and cheap for 100,000 observations."""

import re
from collections import Counter

import pytest

from hubbleclip.core.errors import SettingsError
from hubbleclip.simulator.instruments import CAMERAS
from hubbleclip.simulator.object_kinds import OBJECT_KINDS
from hubbleclip.simulator.observations import SimObservation, SkySettings, make_proposals, observations_of
from hubbleclip.simulator.plans import plan_of, proposal_index

SETTINGS = SkySettings(num_proposals=240)


@pytest.fixture(scope="module")
def observations() -> list[SimObservation]:
    return [one for proposal in make_proposals(SETTINGS) for one in observations_of(SETTINGS, proposal)]


def test_names_and_numbers_are_unique(observations: list[SimObservation]) -> None:
    assert len({one.obs_id for one in observations}) == len(observations)
    assert len({one.obsid for one in observations}) == len(observations)
    assert all(re.fullmatch(r"[ij][0-9a-z]{8}|U[0-9A-Z]{8}", one.obs_id) for one in observations)


def test_all_kinds_have_equal_shares_and_calibration_a_small_one() -> None:
    counts = Counter(proposal.kind for proposal in make_proposals(SETTINGS))
    assert set(counts) == {*OBJECT_KINDS, "calibration"}
    assert min(counts[kind] for kind in OBJECT_KINDS) >= 9
    assert counts["calibration"] < 20


def test_a_new_night_adds_later_releases_and_leaves_the_old_ones_alone() -> None:
    two = SETTINGS.model_copy(update={"nights": 2})
    old, all_of_them = make_proposals(SETTINGS), make_proposals(two)
    assert all_of_them[: len(old)] == old
    last = max(one.released_mjd for proposal in old for one in observations_of(two, proposal))
    first = min(one.released_mjd for proposal in all_of_them[len(old) :] for one in observations_of(two, proposal))
    assert last < first
    assert {proposal.night for proposal in all_of_them[len(old) :]} == {1}


def test_cameras_are_used_only_in_their_cycles(observations: list[SimObservation]) -> None:
    for proposal in make_proposals(SETTINGS):
        camera = CAMERAS[plan_of(SETTINGS, proposal_index(proposal.number)).camera]
        assert camera.first_cycle <= proposal.cycle <= camera.last_cycle


def test_a_follow_up_observes_its_parents_field() -> None:
    plans = [plan_of(SETTINGS, index) for index in range(SETTINGS.num_proposals)]
    followers = [plan for plan in plans if plan.parent is not None]
    assert len(followers) >= 5
    for plan in followers:
        assert plan.targets == plans[plan.parent].targets
        assert plan.kind is plans[plan.parent].kind


def test_the_footprint_is_closed_and_holds_the_pointing(observations: list[SimObservation]) -> None:
    for one in observations:
        numbers = [float(word) for word in one.footprint.split()[2:]]
        assert numbers[:2] == numbers[-2:]
        assert min(numbers[1::2]) < one.dec_deg < max(numbers[1::2])


def test_every_observation_lists_a_science_file_and_raw_files(observations: list[SimObservation]) -> None:
    for one in observations:
        kinds = [product.kind for product in one.products]
        assert set(kinds) & {"DRC", "DRZ", "FLC", "FLT", "C0M"}
        assert set(kinds) & {"RAW", "D0M"}
        assert all(product.uri == f"mast:HST/product/{product.file_name}" for product in one.products)
        assert one.target_class == f"SIMULATED;{one.kind.upper()}"


def test_too_many_proposals_are_an_error_that_names_the_settings() -> None:
    with pytest.raises(SettingsError, match="simulator.num_proposals"):
        make_proposals(SkySettings(num_proposals=90_000))
