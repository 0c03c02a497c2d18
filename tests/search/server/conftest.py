"""Servers of the tests: the application over a small engine, in this process and on loopback."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from small_engine import SmallEngine, service_of
from starlette.testclient import TestClient

from hubbleclip.search.server.app import create_app
from hubbleclip.search.server.security import Access
from hubbleclip.search.server.serve import configure, listen
from hubbleclip.search.server.service import Service


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> SmallEngine:
    return SmallEngine(tmp_path_factory.mktemp("tiles"))


@pytest.fixture
def client(engine: SmallEngine) -> Iterator[TestClient]:
    app = create_app(service_of(engine), Access())
    with TestClient(app, base_url="http://localhost:8765", follow_redirects=False) as client:
        yield client


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """Start a server on loopback and return its URL."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(service: Service, access: Access | None = None, instance: str = "") -> str:
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
def png(engine: SmallEngine) -> bytes:
    return Path(engine.records[engine.ids[0]].picture).read_bytes()
