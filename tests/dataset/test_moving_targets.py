"""Designations of moving targets."""

import re

import pytest

from hubbleclip.dataset.splits.moving_targets import normalise_target_name


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
        ("Jupiter-North_Pole", "JUPITER"),
        ("KBO 12", "KBO12"),
        ("kbo-12", "KBO12"),
        ("COMET-IO-1", "IO"),
        ("--", ""),
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
        ("COMET-447P-SHEPPARD-THOLEN", "447P"),
        ("9I", "9I"),
    ],
)
def test_a_name_is_reduced_to_its_designation(name, designation):
    assert normalise_target_name(name) == designation


def test_the_number_of_a_comet_comes_before_its_provisional_designation():
    assert normalise_target_name("67P/1969-R1-CHURYUMOV") == normalise_target_name("1969-R1-67P") == "67P"


@pytest.mark.parametrize(
    "names",
    [
        ("67P", "COMET-67P-CHURYUMOV", "67P-CHURYUMOV-GERASIMENKO", "CHURYUMOV-GERASIMENKO", "comet67P"),
        ("HAUMEA", "136108-HAUMEA", "136108", "2003-EL61", "HAUMEA-HIIAKA"),
        ("C/2012-S1", "COMET-ISON", "C2012S1-ISON", "ISON", "C/2012 S1 (ISON)"),
        ("9P", "COMET-9P-TEMPEL-1", "TEMPEL1"),
        ("73P-SW3-C", "COMET-SCHWASSMANN-WACHMANN-3", "73P/Schwassmann-Wachmann 3-B"),
        ("C/1995-O1", "COMET-HALE-BOPP", "HALE-BOPP-C1995O1"),
        ("2060-CHIRON", "CHIRON", "95P"),
        ("624-HEKTOR", "HEKTOR", "ASTEROID-624-HEKTOR"),
        ("136199-ERIS", "2003-UB313", "ERIS-DYSNOMIA"),
        ("2I", "C/2019-Q4", "2I-BORISOV"),
        ("P/2010-A2", "354P", "P2010A2"),
    ],
)
def test_names_of_one_body_are_reduced_to_one_designation(names):
    assert len({normalise_target_name(name) for name in names}) == 1


def test_names_of_different_bodies_stay_different():
    names = re.findall(
        r"[^;]+",
        "67P;6P;COMET-TEMPEL-TUTTLE;8P-TUTTLE;SWIFT-TUTTLE;TEMPEL-1;10P-TEMPEL-2;SW1;73P;C/2012-S1;"
        "C/2012-S2;2012-SB1;KBO-12;KBO-13;HAUMEA;MAKEMAKE;SHOEMAKER-LEVY-9;624-HEKTOR;JUPITER;"
        "COMET-PANSTARRS;TNO-123456;123456",
    )
    assert len({normalise_target_name(name) for name in names}) == len(names)
