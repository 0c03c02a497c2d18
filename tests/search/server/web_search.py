"""The servers that the tests ask: the application in this process, and `hubbleclip serve` in one of its own."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bs4 import BeautifulSoup
from commands import command, environment
from mcp.server import MCPServer
from starlette.testclient import TestClient

from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search.engine import Search
from hubbleclip.search.server.application import create_app
from hubbleclip.search.server.running_server import RunningServer, find_server
from hubbleclip.search.server.search_service import SearchService
from hubbleclip.search.server.security import Access, is_loopback

EVIL = '<script>document.title = "owned"</script>"><img src=x onerror=alert(1)>'
"""Title and investigator of the proposal 7, each tile of which is drawn as a ring."""


def service_of(search: Search, **changes: object) -> SearchService:
    return SearchService(search=search, **({"explain": lambda tile_id: {"tile_id": tile_id}} | changes))


def client_of(service: SearchService, access: Access | None = None, agents: MCPServer | None = None) -> TestClient:
    access = access or Access()
    url = "http://localhost:8765" if is_loopback(access.host) else "http://search.example"
    return TestClient(create_app(service, access, agents=agents), base_url=url, follow_redirects=False)


def soup(client: TestClient, url: str, status: int = 200, **headers: str) -> BeautifulSoup:
    response = client.get(url, headers=headers)
    assert response.status_code == status, response.text
    return BeautifulSoup(response.text, "html.parser")


@contextmanager
def served(settings: Settings, *words: str, **variables: str) -> Iterator[tuple[RunningServer, subprocess.Popen]]:
    """Serve a profile on a free port until the block ends."""
    line = command("serve", "--port", "0", *words, data=settings.data)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment() | variables) as process:
        deadline = time.monotonic() + 300
        while (found := find_server(Layout(settings.root).search_server)) is None or found.pid != process.pid:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield found, process
        process.kill()
