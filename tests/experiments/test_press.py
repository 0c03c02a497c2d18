"""Press pictures that are related, and captions that say nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from valid_catalog import proposal

from experiments.pairs.press import (
    Folder,
    group_of_pictures,
    links_between,
    press_picture,
    read_press,
    uninformative_pictures,
)
from hubbleclip.config.settings import SplitSettings

SPLITS = SplitSettings()


def folder(tmp_path: Path, *rows: dict) -> Folder:
    """A folder of pictures of one row each; a row without a caption gets one of its own."""
    tmp_path.mkdir(exist_ok=True)
    proposals, files = {}, {}
    for row in rows:
        key, caption = row["id"], row.get("caption", " ".join(f"{row['id']}word{i}" for i in range(30)))
        proposals[key] = replace(proposal("1"), proposal_id=key, number=key, abstract=caption)
        files[key] = tmp_path / f"{key}.jpg"
        files[key].write_bytes(row.get("content", key).encode())
    return Folder(files=files, proposals=proposals, press={row["id"]: press_picture(row) for row in rows})


TEXT = " ".join(f"word{i}" for i in range(40))
M42 = {"ref_value": ["83.82", "-5.39"], "ref_dimension": ["1000.0", "1000.0"], "scale": ["-0.0001", "0.0001"]}
RELATED = {
    "release": ({"id": "heic0207b"}, {"id": "heic0207c"}),
    "release of many": ({"id": "heic0917aa"}, {"id": "heic0917b"}),
    "release with versions": ({"id": "opo9545a"}, {"id": "opo9545a1"}),
    "release of one letter": ({"id": "ann0808"}, {"id": "ann0808a"}),
    "subject": (
        {"id": "heic0601d", "subject_name": ["M 42"]},
        {"id": "opo9424a", "subject_name": ["NGC 1976", "Messier 42"]},
    ),
    "sky": ({"id": "heic0601d", **M42}, {"id": "opo9424a", **M42, "ref_value": ["83.9", "-5.40"]}),
    "sky without scale": ({"id": "heic0601d", "ref_value": ["83.82", "-5.39"]}, {"id": "opo9424a", **M42}),
    "sky across RA 0": (
        {"id": "heic1a", **M42, "ref_value": ["0.01", "5"]},
        {"id": "opo2a", **M42, "ref_value": [359.99, 5]},
    ),
    "near caption": (
        {"id": "heic0601d", "caption": TEXT},
        {"id": "opo9424a", "caption": f"{TEXT} and some more words"},
    ),
}


@pytest.mark.parametrize("kind", RELATED)
def test_related_pictures_are_one_group_and_are_found_between_folders(kind: str, tmp_path: Path) -> None:
    one, other = RELATED[kind]
    assert len(set(group_of_pictures(folder(tmp_path, one, other), SPLITS).values())) == 1
    links = links_between(folder(tmp_path, one), folder(tmp_path / "other", other), SPLITS)
    assert {(link.one, link.other) for link in links} == {(one["id"], other["id"])}


def test_equal_files_are_found_between_folders_of_other_ids(tmp_path: Path) -> None:
    one = folder(tmp_path, {"id": "a1", "content": "x"})
    other = folder(tmp_path / "other", {"id": "b1", "content": "x"})
    (link,) = links_between(one, other, SPLITS)
    assert (link.one, link.other, link.reason) == ("a1", "b1", "picture")


UNRELATED = (
    {"id": "heic0207a", "subject_name": ["NGC 1"], **M42},
    {"id": "heic0208a", "subject_name": ["NGC 11"]},
    {"id": "heic0209", "ref_value": ["93.82", "-5.39"]},
    {"id": "photo", "ref_value": ["unknown", None]},
    {"id": "17"},
)


def test_unrelated_pictures_are_groups_of_their_own(tmp_path: Path) -> None:
    group_of = group_of_pictures(folder(tmp_path, *UNRELATED), SPLITS)
    assert group_of == {row["id"]: row["id"] for row in UNRELATED}


GALLERY = "This image of {} is part of the Gallery of planetary nebulae."


def test_a_caption_that_says_only_the_name_of_many_unrelated_objects_is_uninformative(tmp_path: Path) -> None:
    names = ["NGC 1", "NGC 22", "IC 418", "Hen 3-1475"]
    rows = [
        {"id": f"heic0404{letter}", "subject_name": [name], "caption": GALLERY.format(name)}
        for letter, name in zip("abcd", names, strict=True)
    ]
    own = {"id": "heic0405a", "subject_name": ["M 57"], "caption": "The ring of gas glows in green and red."}
    assert uninformative_pictures(folder(tmp_path, *rows, own)) == {row["id"] for row in rows}
    assert uninformative_pictures(folder(tmp_path, *rows[:2], own)) == set()


def test_a_caption_that_many_pictures_of_one_object_share_is_kept(tmp_path: Path) -> None:
    text = "A section of Cassiopeia A, a supernova remnant."
    of_subject = [{"id": f"opo021{n}a", "subject_name": ["Cassiopeia A"], "caption": text} for n in range(5)]
    of_release = [{"id": f"photo1{letter}", "caption": f"{text} Again."} for letter in "abcde"]
    assert uninformative_pictures(folder(tmp_path, *of_subject, *of_release)) == set()


def test_facts_are_read_with_ids_as_the_local_archive_names_pictures(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"id": "0042", "subject_name": "M 1"}\n\n{"title": "no id"}\n{"id": "heic1a"}\n')
    found = read_press(path)
    assert set(found) == {"42", "heic1a"}
    assert found["42"].subjects == {"m1"}
    assert replace(found["heic1a"], release="") == replace(press_picture({"id": "x"}), release="")
