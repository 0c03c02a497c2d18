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


@pytest.mark.parametrize(
    ("name", "designation"),
    [
        *(
            (f"{kind}{year}-K9", f"{year}K9")
            for kind in ("A", "C/", "D", "I", "P", "X", "")
            for year in (1600, 1799, 2099)
        ),
        ("1500-K9", "1500K9"),
        ("2100-K9", "2100K9"),
        ("2003-UB3131", "2003UB3131"),
        ("2014-MX69", "2014MX69"),
        ("2017-U", "2017U"),
        *((f"{word}-ABC", "ABC") for word in ("COMET", "ASTEROID", "CENTAUR", "TROJAN", "NUCLEUS")),
        ("123456-NAME", "NAME"),
        ("1234567-NAME", "1234567NAME"),
        ("12-AB", "12AB"),
        ("999P", "999P"),
        ("9I", "9I"),
    ],
)
def test_each_kind_of_designation_and_each_generic_word_is_known(name, designation):
    assert normalise_target_name(name) == designation
