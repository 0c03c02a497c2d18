"""The bulk list on the disk gives the same records as the whole file, and only byte ranges are in memory."""

import tracemalloc
from io import BytesIO
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.stsci.bulk_list import BulkList, index_bulk_list
from hubbleclip.archives.stsci.parsers import ProposalText, parse_abstracts_cat
from hubbleclip.core.text_cleaning import decode
from hubbleclip.simulator.observations import SkySettings, make_proposals
from hubbleclip.simulator.server.pages import abstracts_cat

RULE = "-" * 79
LINES = st.sampled_from(
    ["-----", "Prop. Type: GO", "prop. type: SNAP", "ID: 07", "ID: 8", "Cycle: 3", "PI: A", "", " ", "Text.", "-- t"]
)


def bulk_of(data: bytes, folder: Path) -> BulkList:
    path = folder / "abstracts.cat"
    path.write_bytes(data)
    return index_bulk_list(path, BytesIO(data))


def by_number(bulk: BulkList) -> dict[str, ProposalText]:
    return {text.number: text for text in bulk.read(bulk.byte_ranges)}


def whole(data: bytes) -> dict[str, ProposalText]:
    return {text.number: text for text in parse_abstracts_cat(decode(data))}


def test_every_record_of_a_list_is_found_at_its_byte_range(tmp_path: Path) -> None:
    data = abstracts_cat(make_proposals(SkySettings(num_proposals=60))).encode()
    bulk = bulk_of(data, tmp_path)
    assert by_number(bulk) == whole(data)
    assert len(bulk) == len(whole(data)) > 50


def test_only_requested_records_are_read(tmp_path: Path) -> None:
    bulk = bulk_of(f"{RULE}\nID: 1\nTitle: One\n{RULE}\nProp. Type: GO\nID: 2\nTitle: Two\n{RULE}\n".encode(), tmp_path)
    assert [text.title for text in bulk.read(["2", "9"])] == ["Two"]
    assert "2" in bulk
    assert "9" not in bulk


def test_records_of_other_encodings_may_follow_each_other(tmp_path: Path) -> None:
    texts = [
        f"{RULE}\nProp. Type: GO\nID: {n}\nTitle: B\xe9n\xe9\n".encode(code)
        for n, code in enumerate(("utf-8", "cp1252"))
    ]
    found = by_number(bulk_of(b"".join(texts), tmp_path))
    assert [found["0"].title, found["1"].title] == ["B\xe9n\xe9", "B\xe9n\xe9"]


@given(st.lists(LINES, max_size=60))
def test_whatever_the_lines_the_list_on_disk_gives_the_same_records(tmp_path_factory, lines: list[str]) -> None:
    data = "\n".join(lines).encode()
    assert by_number(bulk_of(data, tmp_path_factory.mktemp("bulk"))) == whole(data)


def test_only_byte_ranges_are_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "abstracts.cat"
    with path.open("w") as file:
        for number in range(1, 1001):
            file.write(f"{RULE}\nProp. Type: GO\nID: {number}\nTitle: T\n\n" + f"{'word ' * 1000}\n" * 2)
    tracemalloc.start()
    with path.open("rb") as lines:
        bulk = index_bulk_list(path, lines)
    texts = list(bulk.read(["1", "1000"]))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(bulk), len(texts)) == (1000, 2)
    assert peak_bytes < path.stat().st_size / 10
