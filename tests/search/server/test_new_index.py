"""A new index, a damaged one and one that is being rebuilt under a server that is asked all the time."""

import os

import pytest
from search_site import add_tiles
from web_search import client_of, service_of

from hubbleclip.config.settings import Settings
from hubbleclip.core.io import write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline import index as stage
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams


def test_a_damaged_index_is_not_read_again_for_every_request(
    own_site: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage.index(own_site)
    layout = Layout(own_site.root)
    search = Search(layout)
    for path in layout.index.glob("*/index.json"):
        write_bytes(path, b"damage")
    assert {search.num_tiles for _ in range(20)} == {48}
    assert caplog.text.count("cannot be opened") == 1


def test_health_tells_a_damaged_index_and_a_missing_model_until_they_are_restored(own_site: Settings) -> None:
    stage.index(own_site)
    layout = Layout(own_site.root)
    service = service_of(Search(layout))
    with client_of(service) as client:

        def health() -> tuple[int, str]:
            answer = client.get("/healthz")
            return answer.status_code, answer.json()["status"]

        (run,) = layout.runs.glob("*-*")
        run.rename(layout.root / "moved")
        service.load_model()
        assert health() == (503, "the model cannot be loaded")
        (layout.root / "moved").rename(run)
        assert client.get("/api/v1/search?q=galaxy").status_code == 200
        for path in (*layout.index.glob("*/*.f16"), *layout.index.glob("*/*.i8")):
            content = path.read_bytes()
            os.truncate(path, 100)
            assert health() == (503, "a file of the index is damaged")
            path.with_suffix(".whole").write_bytes(content)
            path.with_suffix(".whole").rename(path)
            service.search._retry_at = 0
            assert health() == (200, "ok")


def test_a_status_is_that_of_the_index_that_answers(own_site: Settings) -> None:
    stage.index(own_site)
    search = Search(Layout(own_site.root))
    add_tiles(own_site, range(2), range(6, 7))
    stage.index(own_site)
    assert search.status.num_tiles == 48  # no new index is opened for it
    assert search.run(SearchParams(k=1)).index.num_tiles == 50
    assert search.status.num_tiles == 50
