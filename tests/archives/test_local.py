"""The local archive: a folder of FITS files, however odd."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hubbleclip.archives import open_archive
from hubbleclip.archives.json_lines import read_proposal_rows, read_proposals_file
from hubbleclip.archives.local import LocalArchive
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.contracts.validation import contract_violations
from hubbleclip.core.errors import DownloadError, SettingsError
from hubbleclip.core.io import sha256_bytes, sha256_file
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Observation, Product, Proposal


def local(folder: Path, **settings: object) -> LocalArchive:
    values = ArchiveSettings.model_validate({"name": "local", "folder": folder, **settings})
    archive = open_archive(values, FetchSettings(), Layout(folder / "out"))
    assert isinstance(archive, LocalArchive)
    return archive


def write_fits(path: Path, value: float = 1.0, **keywords: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = fits.Header({key.replace("_of_", "-"): item for key, item in keywords.items()})
    primary = fits.PrimaryHDU(header=header)
    fits.HDUList([primary, fits.ImageHDU(np.full((4, 5), value, "f4"), name="SCI")]).writeto(path)
    return path


def observations_of(archive: LocalArchive) -> list[Observation]:
    return [item for page in archive.query_observations(0) for item in page]


def products_of(archive: LocalArchive) -> list[Product]:
    return archive.list_products(observations_of(archive))[0]


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
    "PR_INV_L": "Simon",
}


def test_a_header_becomes_an_observation(tmp_path: Path) -> None:
    write_fits(tmp_path / "sub/icpf27deq_drz.fits", **NEPTUNE)
    (found,) = observations_of(local(tmp_path))
    assert found == Observation(
        obs_id="sub/icpf27deq_drz.fits",
        archive="local",
        proposal_id="local:13937",
        instrument="WFC3/UVIS",
        filters="F467M",
        target_name="NEPTUNE-MAPS",
        is_moving=True,
        ra_deg=334.5,
        dec_deg=-11.2,
        start_mjd=57275.5,
        exposure_s=48.0,
        title="NEPTUNE-MAPS with WFC3/UVIS in F467M",
        fetched_at=found.fetched_at,
        fingerprint=found.fingerprint,
        **dict.fromkeys(("obsid", "target_class", "footprint", "calib_level", "released_mjd")),
    )


def test_a_proposal_is_that_of_the_header_and_of_the_row_of_its_mission(tmp_path: Path) -> None:
    write_fits(tmp_path / "icpf27deq_drz.fits", **NEPTUNE)
    (made,), (unknown,) = local(tmp_path).fetch_proposals(["13937", "404"])
    assert made == Proposal(
        proposal_id="local:13937",
        archive="local",
        number="13937",
        title="NEPTUNE-MAPS with WFC3/UVIS in F467M",
        pi="Amy Simon",
        source="header",
        fetched_at=made.fetched_at,
        **dict.fromkeys(("cycle", "proposal_type", "category", "abstract")),
    )
    assert (unknown.entity, unknown.entity_id, unknown.reason) == ("proposal", "local:404", "not_found")
    own = {"mission": "HST", "proposal_id": "hst:13937", "title": None, "abstract": "Maps {of} Neptune.", "cycle": 22}
    rows = [
        {"mission": "JWST", "proposal_id": "13937", "title": "Not this", "abstract": "wrong"},
        {"mission": "HST", "proposal_id": None, "title": None, "abstract": "no number"},
        own | {"pi": ["A. Simon"], "proposal_type": "GO", "category": "Solar System"},
        own | {"abstract": "A later row."},
    ]
    (tmp_path / "proposals.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    (proposal,) = local(tmp_path).fetch_proposals(["13937"])[0]
    assert replace(proposal, fetched_at=made.fetched_at) == replace(
        made,
        abstract="Maps (of) Neptune.",
        cycle=22,
        proposal_type="GO",
        category="Solar System",
        pi=proposal.pi,
        source="proposals.jsonl",
    )
    assert "A. Simon" in (proposal.pi or "")


def test_files_without_a_proposal_each_get_their_own(tmp_path: Path) -> None:
    write_fits(tmp_path / "one.fits", 1)
    write_fits(tmp_path / "sub" / "two.fits", 2)
    archive = local(tmp_path)
    assert [item.proposal_id for item in observations_of(archive)] == ["local:one", "local:two"]
    assert [item.title for item in archive.fetch_proposals(["one", "two"])[0]] == ["one", "two"]


def test_files_are_left_in_place_and_hashed(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "deep" / "a:1_flt.fits", **NEPTUNE)
    archive = local(tmp_path)
    (product,) = products_of(archive)
    size = path.stat().st_size
    assert product == Product(
        uri="local:deep/a:1_flt.fits",
        obs_id="deep/a:1_flt.fits",
        proposal_id="local:13937",
        file_name="a:1_flt.fits",
        kind="flt",
        size_bytes=size,
        choice="the only file",
        archive_version=product.archive_version,
    )
    fetched = archive.fetch_product(replace(product, size_bytes=1))
    facts = {"path": path.resolve().as_posix(), "sha256": sha256_file(path), "source": "local"}
    times = {"fetched_version": product.archive_version, "fetched_at": fetched.fetched_at}
    assert fetched == replace(product, **facts, **times)
    assert not (tmp_path / "out").exists()


ENDLESS = b"".join(card.ljust(80) for card in (b"SIMPLE  =                    T", b"NAXIS   = 2000000000", b"END"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"SIMPLE  =",
        b"\0" * 5760,
        b"SIMPLE  = T" + b"\xff" * 9000,
        ENDLESS.ljust(2880),
    ],
)
@pytest.mark.parametrize("name", ["odd.fits", "odd.fits.gz"])
def test_an_unreadable_file_is_still_listed_so_that_its_tiles_are_rejected(
    tmp_path: Path, data: bytes, name: str
) -> None:
    (tmp_path / name).write_bytes(data)
    archive = local(tmp_path)
    (product,) = products_of(archive)
    assert archive.fetch_product(product).size_bytes == len(data)
    assert archive.fetch_proposals(["odd"])[0][0].title == "odd"


def test_keywords_of_a_table_are_not_taken_for_the_images(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("FILTER", "J", array=[1])])
    table.header["TARGNAME"] = "FROM-TABLE"
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "t.fits")
    assert observations_of(local(tmp_path))[0].target_name is None


def test_a_keyword_of_the_primary_header_comes_before_that_of_an_image(tmp_path: Path) -> None:
    primary, image = fits.PrimaryHDU(), fits.ImageHDU(np.ones((4, 4), np.float32))
    primary.header["TARGNAME"], image.header["TARGNAME"], image.header["FILTER"] = "NGC-1", "ANY", "F606W"
    fits.HDUList([primary, image]).writeto(tmp_path / "a.fits")
    (seen,) = observations_of(local(tmp_path))
    assert (seen.target_name, seen.filters) == ("NGC-1", "F606W")


def test_all_spellings_of_fits_are_found_in_sorted_order_and_hidden_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, name in enumerate(["b.FITS", "a.fit", "c/d.fits.gz", ".hidden.fits", ".cache/x.fits", "notes.txt"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(b"x" * index) if name.endswith("gz") else b"x" * index)
    monkeypatch.setattr("hubbleclip.archives.local.OBSERVATIONS_PER_PAGE", 2)
    pages = [[item.obs_id for item in page] for page in local(tmp_path).query_observations(0)]
    assert pages[1:] == [["a.fit", "b.FITS"], ["c/d.fits.gz"]]


def test_files_that_are_in_use_stay_when_others_come(tmp_path: Path) -> None:
    for index in range(2):
        write_fits(tmp_path / f"{index}.fits", index, **NEPTUNE)
    archive = local(tmp_path, max_products_per_proposal=2)
    first, _ = archive.list_products(observations_of(archive))
    for index in range(2, 9):
        write_fits(tmp_path / f"{index}.fits", index, **NEPTUNE)
    archive = local(tmp_path, max_products_per_proposal=2)
    taken = {first[0].proposal_id: frozenset(item.obs_id for item in first)}
    again, rejections = archive.list_products(observations_of(archive), taken)
    assert {item.obs_id for item in again} == {item.obs_id for item in first}
    assert [item.reason for item in rejections] == ["over_limit"] * 7
    others, _ = archive.list_products(observations_of(archive)[2:], taken)
    assert others == [], "files that are taken but not given count too"


def test_a_file_that_vanished_or_is_too_large_is_rejected(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes(bytes(1_000_001))
    (tmp_path / "c.fits").write_bytes(bytes(1_000_000))
    archive = local(tmp_path, max_product_mb=1)
    observations, product = observations_of(archive), products_of(archive)[0]
    path.unlink()
    products, rejections = archive.list_products(observations)
    assert [item.obs_id for item in products] == ["c.fits"]
    assert [(item.entity_id, item.reason) for item in rejections] == [("a.fits", "no_file"), ("b.fits", "too_large")]
    with pytest.raises(DownloadError, match="cannot be read"):
        archive.fetch_product(product)


def test_a_missing_folder_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    for settings in (
        {"folder": None},
        {"folder": tmp_path / "none"},
        {"folder": tmp_path, "proposals_file": tmp_path / "no"},
    ):
        with pytest.raises(SettingsError, match=r"archive\.(folder|proposals_file)"):
            open_archive(ArchiveSettings(name="local", **settings), FetchSettings(), Layout(tmp_path))


def test_a_proposals_file_that_is_not_json_names_the_line(tmp_path: Path) -> None:
    write_fits(tmp_path / "a.fits")
    (tmp_path / "proposals.jsonl").write_text('{"title": "x"}\n[1]\n')
    with pytest.raises(SettingsError, match="line 2"):
        local(tmp_path).fetch_proposals(["a"])


def test_the_proposals_of_a_file_are_those_with_an_abstract(tmp_path: Path) -> None:
    text = " ".join(f"Word{n}" for n in range(13))
    rows = [
        {"number": 6, "title": "Without abstract"},
        {"number": "007", "title": "A title", "abstract": "A nebula."},
        {"number": 7, "title": "Another title", "abstract": "A later row."},
        {"abstract": text},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    number = f"text-{sha256_bytes(text.encode())[:12]}"
    assert [
        (one.proposal_id, one.number, one.title, one.abstract, one.archive, one.source)
        for one in read_proposals_file(tmp_path / "rows.jsonl", "local")
    ] == [
        ("local:7", "7", "A title", "A nebula.", "local", "rows.jsonl"),
        (f"local:{number}", number, text.removesuffix(" Word12"), text, "local", "rows.jsonl"),
    ]
    with pytest.raises(SettingsError, match=r"archive\.proposals_file .* is not a file"):
        read_proposals_file(tmp_path / "none", "local")


def test_an_unknown_archive_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="hst, jwst, local, simulated"):
        open_archive(ArchiveSettings(name="nasa"), FetchSettings(), Layout(tmp_path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.jsonl", '{"id": "heic0004a", "title": "A dying star.", "caption": "A dying star."}'),
        ("captions.csv", "id,title,caption\nheic0004a,A dying star.,A dying star.\n"),
        ("captions.csv", "filepath\ttitle\nimages/heic0004a.jpg\tA dying star.\n"),  # the separator of open_clip
        ("captions.csv", '\ufefftitle,filepath\n"A dying star.",heic0004a.jpg\n"Another title.",heic0004a.jpg\n'),
    ],
)
def test_a_picture_finds_its_caption_by_its_name(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/heic0004a.jpg").write_bytes(b"any")
    write_fits(tmp_path / "not_a_picture.fits")
    (tmp_path / name).write_text(text)
    archive = local(tmp_path, products="preview", proposals_file=tmp_path / name)
    (found,) = observations_of(archive)
    (proposal,), _ = archive.fetch_proposals(["heic0004a"])
    assert (found.obs_id, found.proposal_id) == ("images/heic0004a.jpg", "local:heic0004a")
    assert (proposal.title, proposal.abstract) == ("A dying star.", "A dying star.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("filepath;title\na.jpg;A star.\n", "must be filepath and title"),
        ("filepath,title\nd1/a.jpg,A star.\nd2/a.jpg,A moon.\n", "line 3: another folder has a picture 'a'"),
    ],
)
def test_a_table_of_captions_that_gives_no_picture_its_own_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(text)
    with pytest.raises(SettingsError, match=said):
        read_proposal_rows(tmp_path / "captions.csv")


def test_pictures_with_odd_numbers_as_names_find_their_own_captions(tmp_path: Path) -> None:
    names = ["²", "³", "1234567890", "1234567891", "007"]
    for name in names:
        (tmp_path / f"{name}.jpg").write_bytes(b"any")
    rows = [{"id": name, "title": f"Picture {name}", "caption": f"Text of {name}."} for name in names]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    archive = local(tmp_path, products="preview", proposals_file=tmp_path / "captions.jsonl")
    proposals, _ = archive.fetch_proposals(names)
    assert [one.abstract for one in proposals] == [f"Text of {name}." for name in names]


WORDS = ("unpack", "ends in .fits", "ends in .jpg", "archive.products", "ends in none of .fits")


def test_each_file_that_is_skipped_is_rejected_with_what_makes_it_usable(tmp_path: Path) -> None:
    whole = write_fits(tmp_path / "a.fits").read_bytes()
    contents = {
        "b.fits.fz": whole,
        "c.fits.bz2": bz2.compress(whole),
        "d.tar": b"any",
        "e.dat": whole,
        "sub/f.jpg": b"\xff\xd8\xff",
        "g.png": b"\xff\xd8\xff",
        "notes.txt": b"Notes.",
        "proposals.jsonl": b"",
        "out/h.png": b"",
        ".hidden": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    skipped, rest = local(tmp_path).query_observations(0)
    assert [item.obs_id for item in rest] == ["a.fits"] and not skipped.is_checkpoint
    assert not contract_violations("rejection", list(skipped.rejections))
    found = {one.entity_id: one.detail for one in skipped.rejections}
    assert {name: next(word for word in WORDS if word in why) for name, why in found.items()} == {
        **dict.fromkeys(("b.fits.fz", "c.fits.bz2", "d.tar"), "unpack"),
        "e.dat": "ends in .fits",
        "sub/f.jpg": "archive.products",
        "g.png": "ends in .jpg",
        "notes.txt": "ends in none of .fits",
    }


def test_a_rewritten_file_has_another_version(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "a.fits")
    first = local(tmp_path)
    (before,), (old,) = observations_of(first), products_of(first)
    path.unlink()
    write_fits(path, value=2.0)
    os.utime(path, (1e9, 1e9))
    second = local(tmp_path)
    (after,), (new,) = observations_of(second), products_of(second)
    assert before.fingerprint != after.fingerprint
    assert old.archive_version != new.archive_version
    assert not contract_violations("observation", [after])
    assert not contract_violations("product", [new])
    assert (observations_of(local(tmp_path))[0].fingerprint, products_of(local(tmp_path))) == (after.fingerprint, [new])
