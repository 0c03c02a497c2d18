"""Servers of the tests: the application over the search of a small index, in this process and on loopback."""

import shutil
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from search_site import IDS, settings_of
from starlette.testclient import TestClient
from web_search import EVIL, client_of, service_of

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search.engine import Search
from hubbleclip.search.server.application import create_app
from hubbleclip.search.server.run_server import configure, listen
from hubbleclip.search.server.search_service import SearchService
from hubbleclip.search.server.security import Access


@pytest.fixture(scope="session")
def search(site: Settings, tmp_path_factory: pytest.TempPathFactory) -> Search:
    """The search of a simulated sky with a hostile proposal, which no test changes."""
    settings = settings_of(shutil.copytree(site.data, tmp_path_factory.mktemp("web") / "data"))
    with writing_catalog(Layout(settings.root)) as catalog:
        catalog.connection.execute("UPDATE proposal SET archive = 'simulated'")
        catalog.connection.execute("UPDATE proposal SET title = $1, pi = $1 WHERE proposal_id = 'hst:7'", [EVIL])
        catalog.changed = True
    return Search(Layout(settings.root), asks_sesame=False)


@pytest.fixture(scope="module")
def client(search: Search) -> Iterator[TestClient]:
    with client_of(service_of(search)) as client:
        yield client


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """Start a server on loopback and return its URL."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(service: SearchService, access: Access | None = None, instance: str = "") -> str:
        opened = listen("127.0.0.1", 0)
        server = uvicorn.Server(configure(create_app(service, access or Access(), instance)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{opened.getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def png(search: Search) -> bytes:
    """The picture of the tile `IDS[31]`, to which no other tile is nearly as similar."""
    return search.tile(IDS[31]).picture.read_bytes()
