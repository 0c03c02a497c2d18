"""Designations of moving targets."""

import pytest
from sky_cases import observation

from hubbleclip.dataset.splits.moving_targets import moving_target, normalise_target_name


@pytest.mark.parametrize(
    ("target", "is_moving", "expected"),
    [("JUPITER", True, "JUPITER"), ("JUPITER", False, None), (None, True, None), ("--", True, None)],
)
def test_only_an_observation_that_follows_a_named_target_has_one(target, is_moving, expected):
    assert moving_target(observation("o", target=target, is_moving=is_moving)) == expected
    assert moving_target(None) is None


@pytest.mark.parametrize(
    ("name", "designation"),
    [
        ("0067P", "67P"),
        ("COMET067P", "67P"),
        ("3D-BIELA", "3D"),
        ("1I", "1I"),
        ("C/1680-V1", "1680V1"),
        ("P/2013-P5-PANSTARRS", "2013P5"),
        ("HOLMESIA", "HOLMESIA"),
        ("DWARF-PLANET-QUAOAR", normalise_target_name("QUAOAR")),
        ("MINOR-PLANET-NUCLEUS-ABC", "ABC"),
        ("COMET", "COMET"),
        ("45-EUGENIA", "EUGENIA"),
    ],
)
def test_a_name_is_reduced_to_its_designation(name, designation):
    assert normalise_target_name(name) == designation


def test_the_number_of_a_comet_comes_before_its_provisional_designation():
    assert normalise_target_name("67P/1969-R1-CHURYUMOV") == normalise_target_name("1969-R1-67P") == "67P"
