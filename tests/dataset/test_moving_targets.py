"""Designations of moving targets."""

import re

import pytest

from hubbleclip.dataset.splits.moving_targets import normalise_target_name


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
