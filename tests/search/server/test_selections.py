"""From chosen tiles to a selection, a comparison, and a Parquet file with pictures."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from search_site import IDS
from starlette.testclient import TestClient
from web_search import client_of, service_of, soup

from hubbleclip.core.errors import SearchError
from hubbleclip.search import export, selections
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams
from hubbleclip.search.selections import Selection, change_selection, delete_selection, read_selections
from hubbleclip.search.server.security import check_access
from hubbleclip.search.stores.base import rows_of


@pytest.fixture
def selected(client: TestClient, search: Search) -> Iterator[Path]:
    """The file of the selections, which has one of three tiles."""
    response = client.post("/selections", data={"name": "arcs", "tile": IDS[3:6], "action": "add"})
    assert (response.status_code, response.headers["location"]) == (303, "/?selection=arcs&group=none")
    yield search.selections
    search.selections.unlink()


def test_a_selection_grows_shrinks_and_has_a_note(client: TestClient, selected: Path) -> None:
    assert selected.parent.joinpath("index").is_dir()  # the index may be deleted, and the selections stay
    assert selected.with_name(".selections.lock").is_file()  # only the folder of the profile need be writable
    for data in (
        {"tile": [IDS[3], IDS[9]], "action": "add"},
        {"tile": IDS[4], "action": "remove"},
        {"note": " to be <observed> again ", "action": "note"},
    ):
        assert client.post("/selections", data={"name": "arcs"} | data).status_code == 303
    expected = {"tile_ids": [IDS[3], IDS[5], IDS[9]], "note": "to be <observed> again"}
    assert json.loads(selected.read_text()) == {"arcs": expected}


def test_a_selection_that_cannot_be_is_refused(client: TestClient, selected: Path) -> None:
    before = selected.read_bytes()
    for data, status in (
        ({"name": "../x", "tile": IDS[0], "action": "add"}, 400),
        ({"name": "", "tile": IDS[0], "action": "add"}, 400),
        ({"name": "a" * 65, "tile": IDS[0], "action": "add"}, 400),
        ({"name": "arcs", "tile": "f" * 32, "action": "add"}, 400),
        ({"name": "arcs", "note": "x" * 4001, "action": "note"}, 400),
        ({"name": "arcs", "tile": IDS[0], "action": "join"}, 422),
        ({"name": "new", "action": "add"}, 400),
        ({"name": "new", "tile": IDS[0], "action": "remove"}, 400),
        ({"name": "new", "note": "x", "action": "note"}, 400),
    ):
        assert client.post("/selections", data=data).status_code == status
        assert selected.read_bytes() == before


def test_a_public_server_shows_selections_and_refuses_changes(search: Search, selected: Path) -> None:
    before = selected.read_bytes()
    with client_of(service_of(search), check_access("0.0.0.0", None, True)) as client:
        assert "arcs" in client.get("/selections").text
        for url in ("/selections", "/?selection=arcs"):
            assert soup(client, url).select("[name=action], [name=note], [name=name]") == []
        for action in ("add", "remove", "note", "delete"):
            refused = client.post("/selections", data={"name": "arcs", "tile": IDS[3], "action": action})
            assert refused.status_code == 403
    assert selected.read_bytes() == before


@pytest.mark.parametrize("content", ["[]", "{", '{"arcs": {"tile_ids": 1, "note": ""}}', '{"arcs": {"tile_ids": []}}'])
def test_a_damaged_file_is_one_line_and_stays(content: str, tmp_path: Path) -> None:
    path = tmp_path / "selections.json"
    path.write_text(content)
    for change in (lambda: change_selection(path, "new", add=IDS[:1]), lambda: delete_selection(path, "arcs")):
        with pytest.raises(SearchError, match=f"{path} is damaged: repair or delete it"):
            change()
    assert path.read_text() == content


def test_selections_are_bounded_in_number_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "selections.json"
    for name in ("MAX_SELECTIONS", "MAX_TILES"):
        monkeypatch.setattr(selections, name, 2)
    change_selection(path, "a", add=["3", "1"])
    change_selection(path, "b" * 64, add=["1", "1"])
    for name in ("a", "c"):
        with pytest.raises(SearchError, match="at most 2 selections of 2 tiles"):
            change_selection(path, name, add=["2"])
    change_selection(path, "b" * 64, note="x" * 4000)
    assert read_selections(path) == {
        "a": Selection(tile_ids=("3", "1")),
        "b" * 64: Selection(tile_ids=("1",), note="x" * 4000),
    }


def test_changes_at_one_time_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "selections.json"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda tile_id: change_selection(path, "arcs", add=[tile_id]), IDS))
    assert sorted(read_selections(path)["arcs"].tile_ids) == sorted(IDS)


@pytest.mark.parametrize("query", ["selection=arcs&group=none", "q=galaxy&k=5&mode=model"])
def test_hits_with_pictures_are_read_by_pandas_and_hugging_face_datasets(
    query: str, client: TestClient, search: Search, selected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(export, "IMAGES_PER_GROUP", 2)
    former = search.run(SearchParams(k=1))
    with pytest.raises(SearchError, match="another model"):
        search.save(replace(former, index=replace(former.index, model_digest="0" * 64)), tmp_path / "none.parquet")
    content = client.get(f"/api/v1/search?{query}&format=images").content
    path = tmp_path / "hits.parquet"
    path.write_bytes(content)
    rows = pd.read_parquet(io.BytesIO(content))
    hits = client.get(f"/api/v1/search?{query}").json()["hits"]
    assert list(rows["tile_id"]) == [hit["tile_id"] for hit in hits]
    assert list(rows["target_name"]) == [hit["target_name"] for hit in hits]
    for row in rows.itertuples():
        assert row.image["bytes"] == search.tile(row.tile_id).picture.read_bytes()
        (at,) = rows_of(search._opened.store.tile_ids, [row.tile_id])
        assert np.array_equal(row.feature, search._opened.store.features([at])[0])
    read = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert read[0]["image"].size == (96, 96)
    assert read.features["ra_deg"].dtype == "float64"
