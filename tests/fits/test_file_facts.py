"""The facts about an observation that its file's header gives."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hubbleclip.fits import keywords as facts
from hubbleclip.fits.keywords import read_facts, read_keywords

NEPTUNE = {
    "TELESCOP": "HST",
    "INSTRUME": "WFC3",
    "DETECTOR": "UVIS",
    "FILTER": "F467M",
    "TARGNAME": "NEPTUNE-MAPS",
    "PROPOSID": 13937,
    "RA_TARG": 334.5,
    "DEC_TARG": -11.2,
    "EXPSTART": 57275.5,
    "EXPTIME": 48.0,
    "MTFLAG": "T",
    "PR_INV_F": "Amy",
    "PR_INV_M": "A.",
    "PR_INV_L": "Simon",
}


def write(path: Path, cards: dict, *extensions: fits.ImageHDU | fits.BinTableHDU) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(cards)), *extensions]).writeto(path, overwrite=True)
    return path


def image(**cards: object) -> fits.ImageHDU:
    return fits.ImageHDU(np.ones((4, 5), np.float32), fits.Header(cards), name="SCI")


def facts_of(folder: Path, changed: dict, name: str = "a_drz.fits") -> facts.FileFacts:
    return read_facts(write(folder / name, NEPTUNE | changed), folder)


def test_each_fact_is_that_of_its_keyword(tmp_path: Path) -> None:
    found = read_facts(write(tmp_path / "visit" / "icpf27deq_DRZ.fits.gz", NEPTUNE, image()), tmp_path)
    assert found == facts.FileFacts(
        obs_id="visit/icpf27deq_DRZ.fits.gz",
        kind="drz",
        mission="HST",
        number="13937",
        instrument="WFC3/UVIS",
        filters=("F467M",),
        target="NEPTUNE-MAPS",
        title="NEPTUNE-MAPS with WFC3/UVIS in F467M",
        pi="Amy A. Simon",
        is_moving=True,
        ra_deg=334.5,
        dec_deg=-11.2,
        start_mjd=57275.5,
        exposure_s=48.0,
    )


def test_the_keywords_are_those_of_the_mission_of_the_telescope(tmp_path: Path) -> None:
    cards = {"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "CHANNEL": "LONG", "FILTER": "F356W", "PUPIL": "CLEAR"}
    cards |= {"PROGRAM": "01234", "PI_NAME": "Pontoppidan, Klaus", "TARGPROP": "M-16", "TARGNAME": "M 16"}
    cards |= {"TARGTYPE": "MOVING", "TARG_RA": 10.0, "TARG_DEC": -20.0, "EFFEXPTM": 5.0, "XPOSURE": 6.0}
    found = facts_of(tmp_path, cards, "jw01234_i2d.fits")
    assert (found.mission, found.number, found.kind, found.instrument) == ("JWST", "1234", "i2d", "NIRCAM/LONG")
    assert (found.target, found.filters, found.is_moving) == ("M-16", ("F356W",), True)
    assert (found.ra_deg, found.dec_deg, found.exposure_s) == (10.0, -20.0, 5.0)
    assert found.pi == facts_of(tmp_path, {"PR_INV_L": "Pontoppidan, Klaus", "PR_INV_F": "", "PR_INV_M": ""}).pi


def test_a_header_without_keywords_gives_what_the_name_says(tmp_path: Path) -> None:
    found = read_facts(write(tmp_path / "my_galaxy.fits", {}), tmp_path)
    assert (found.obs_id, found.kind, found.mission, found.number) == ("my_galaxy.fits", "fits", "HST", "my_galaxy")
    assert (found.title, found.pi, found.is_moving, found.filters) == ("my galaxy", None, False, ())
    rest = (found.instrument, found.target, found.ra_deg, found.dec_deg, found.start_mjd, found.exposure_s)
    assert rest == (None,) * 6


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a_b_flt.fits", "flt"),
        ("a_c0m.fits", "c0m"),
        ("a_raws.fits", "fits"),
        ("a_ab.fits", "fits"),
        ("abc.fits", "fits"),
        ("a_flt_b.fits", "fits"),
    ],
)
def test_the_kind_is_the_last_part_of_the_name_if_that_has_three_characters(tmp_path, name, kind) -> None:
    assert facts_of(tmp_path, {}, name).kind == kind


@pytest.mark.parametrize(
    ("stated", "number"), [("05397", "5397"), ("GO-5397", "5397"), (0, "a_drz"), ("", "a_drz"), ("none", "a_drz")]
)
def test_a_proposal_number_has_no_zeros_before_it_and_its_lack_gives_the_name(tmp_path, stated, number) -> None:
    assert facts_of(tmp_path, {"PROPOSID": stated}).number == number


@pytest.mark.parametrize(
    ("keyword", "name", "inside", "outside"),
    [
        ("RA_TARG", "ra_deg", (0.0, 360.0), (-0.01, 360.01)),
        ("DEC_TARG", "dec_deg", (-90.0, 90.0), (-90.01, 90.01)),
        ("EXPTIME", "exposure_s", (0.0, 1e9), (-0.01,)),
        ("EXPSTART", "start_mjd", (1.0, 1e9), (0.99,)),
    ],
)
def test_numbers_are_taken_between_their_limits_alone(tmp_path, keyword, name, inside, outside) -> None:
    for value in inside:
        assert getattr(facts_of(tmp_path, {keyword: value}), name) == value
    for value in (*outside, "none", "1d", "NaN", "inf"):
        assert getattr(facts_of(tmp_path, {keyword: value}), name) is None


@pytest.mark.parametrize(
    ("flag", "is_moving"),
    [("T", True), ("true", True), (" t ", True), ("F", False), ("", False), (True, True), (False, False)],
)
def test_a_target_moves_if_its_flag_says_so(tmp_path, flag, is_moving) -> None:
    assert facts_of(tmp_path, {"MTFLAG": flag}).is_moving == is_moving


def test_the_names_of_the_investigator_are_joined_without_the_missing_ones(tmp_path: Path) -> None:
    assert facts_of(tmp_path, {"PR_INV_M": "", "PR_INV_F": "Dr.  Amy"}).pi == "Amy Simon"


def test_the_primary_header_comes_before_the_image_and_a_table_gives_nothing(tmp_path: Path) -> None:
    primary = {"TARGNAME": "FIRST", "EXPTIME": 10.0}
    path = write(tmp_path / "a.fits", primary, image(TARGNAME="SECOND", FILTER="F606W"), image(INSTRUME="ACS"))
    assert read_keywords(path) == primary | {"FILTER": "F606W"}
    table = fits.BinTableHDU.from_columns(
        [fits.Column("a", "D", array=np.ones(3))], fits.Header({"FILTER": "F606W", "TARGNAME": "SECOND"})
    )
    assert read_keywords(write(tmp_path / "b.fits", primary, table)) == primary


def test_a_card_without_value_hides_no_value_of_another_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", {"FILTER": fits.card.Undefined(), "TARGNAME": "M 31"}, image(FILTER="F606W"))
    assert read_keywords(path) == {"FILTER": "F606W", "TARGNAME": "M 31"}


def test_a_gzip_file_has_the_same_keywords_under_any_name(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.fits", NEPTUNE, image())
    (tmp_path / "b.fits").write_bytes(gzip.compress(plain.read_bytes()))
    assert read_keywords(tmp_path / "b.fits") == read_keywords(plain) != {}


def test_a_file_without_sense_gives_no_keywords_and_a_damaged_extension_leaves_those_of_the_primary(tmp_path) -> None:
    whole = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(NEPTUNE)), image(FILTER1="F1")]).writeto(whole)
    for content, expected in (
        (b"", {}),
        (b"<html>", {}),
        (b"\x1f\x8b broken", {}),
        (gzip.compress(whole.getvalue())[:-40], NEPTUNE),
        (whole.getvalue()[: 2880 + 400], NEPTUNE),
        (whole.getvalue().replace(b"BITPIX  =                  -32", b"BITPIX  =                    Z"), NEPTUNE),
    ):
        (tmp_path / "a.fits").write_bytes(content)
        assert expected.items() <= read_keywords(tmp_path / "a.fits").items()
        assert bool(read_keywords(tmp_path / "a.fits")) == bool(expected)
