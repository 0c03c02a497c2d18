"""A new index, a damaged one and one that is being rebuilt under a server that is asked all the time."""

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from search_site import add_tiles, tile_id_of
from starlette.testclient import TestClient
from web_search import service_of

from hubbleclip.config.settings import Settings
from hubbleclip.core.io import write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline import index as stage
from hubbleclip.search import engine
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams
from hubbleclip.search.server.application import create_app
from hubbleclip.search.server.security import Access

PATHS = (
    "/api/v1/search?q=spiral+galaxy&k=8",
    "/api/v1/search?q=comet&mode=words&group=none",
    f"/api/v1/search?like={tile_id_of(1, 1)}&group=none",
    "/api/v1/search?instrument=ACS&group=none&k=100",
)
OTHERS = ("/", "/scs?RA=1&DEC=-30&SR=1", f"/api/v1/tiles/{tile_id_of(1, 1)}", "/metrics", "/api/v1/points")


class Asker:
    """Asks a server in some threads, and keeps every answer by path and by the number of tiles of its index."""

    def __init__(self, url: str) -> None:
        self.url, self.faults, self.num = url, [], 0
        self.answers: dict[tuple[str, int], set[str]] = defaultdict(set)
        self._is_ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(4)]

    def __enter__(self) -> "Asker":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ended.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, n: int) -> None:
        while not self._is_ended.is_set():
            n += 1
            path = OTHERS[n // 6 % len(OTHERS)] if n % 6 == 0 else PATHS[n % len(PATHS)]
            try:
                content = urlopen(self.url + path, timeout=30).read()
            except HTTPError as error:
                self.faults.append(f"{path}: {error} {error.read()[:200]!r}")
                continue
            if path in PATHS:
                found = json.loads(content)
                hits = [(hit["tile_id"], hit["score"]) for hit in found["hits"]]
                self.answers[path, found["index"]["num_tiles"]].add(f"{found['num_admitted']} {hits}")
            self.num += 1

    def wait_for(self, is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not is_true():
            assert time.monotonic() < deadline, self.faults
            time.sleep(0.02)

    def wait_for_answers(self, num: int = 40) -> None:
        """Wait until further requests have been answered."""
        wanted = self.num + num
        self.wait_for(lambda: self.num >= wanted)

    def wait_for_index(self, num_tiles: int) -> None:
        self.wait_for(lambda: all((path, num_tiles) in self.answers for path in PATHS))


@pytest.mark.slow
def test_every_answer_is_of_the_old_or_of_the_new_index(
    own_site: Settings, start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "RETRY_S", 0.2)
    stage.index(own_site)
    layout = Layout(own_site.root)
    (folder,) = (path for path in layout.index.iterdir() if path.is_dir())
    search = Search(layout)
    search.load_model()
    with Asker(start(service_of(search))) as asker:
        asker.wait_for_index(48)
        add_tiles(own_site, range(2), range(6, 7))
        stage.index(own_site)  # replaced
        asker.wait_for_index(50)
        for path in (folder / "index.json", layout.current_index):  # damaged
            whole = path.read_bytes()
            write_bytes(path, b"damage")
            asker.wait_for_answers()
            write_bytes(path, whole)
            asker.wait_for_answers()
    assert asker.faults == []
    assert {num for _, num in asker.answers} == {48, 50}
    assert {key: len(answers) for key, answers in asker.answers.items() if len(answers) > 1} == {}


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
    with TestClient(create_app(service, Access()), base_url="http://localhost") as client:

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
