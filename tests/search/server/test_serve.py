"""`serve`, `mcp` and `search` through the running server on a small index: Ctrl-C, tokens, agents, and no other server."""

import asyncio
import inspect
import json
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from socket import socket
from unittest.mock import Mock

import httpx2
import pytest
import uvicorn
from commands import command, environment
from finished_runs import run_command
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from search_site import settings_of, tile_id_of
from starlette.testclient import TestClient
from web_search import served, service_of

from hubbleclip.cli import searching
from hubbleclip.cli.app import main
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.layout import Layout
from hubbleclip.search import embedding_process, engine
from hubbleclip.search.engine import Search
from hubbleclip.search.server import running_server
from hubbleclip.search.server.run_server import listen, run_server
from hubbleclip.search.server.running_server import RunningServer, ask, find_server, proof_of, registered
from hubbleclip.search.server.security import Access
from tests.bad_server import BadServer, give


@pytest.fixture(scope="module")
def own(site: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A copy of the indexed profile, whose server no other test starts."""
    return settings_of(shutil.copytree(site.data, tmp_path_factory.mktemp("served") / "data"))


@pytest.mark.parametrize(
    ("words", "token", "is_private"),
    [((), "", True), (("--public",), "", False), (("--host=0.0.0.0",), "x" * 40, False)],
)
def test_only_a_server_for_this_machine_sends_requests_for_its_user(
    words: tuple[str, ...], token: str, is_private: bool, own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(server: uvicorn.Server, sockets: list[socket]) -> None:
        routes = {getattr(route, "path", ""): route for route in server.config.app.routes}
        service = inspect.getclosurevars(routes["/healthz"].endpoint).nonlocals["service"]
        is_limited = getattr(service.open_remote, "keywords", None) == {"max_bytes": 8_000_000}
        asks = is_limited, service.search._ask_elsewhere is not None and service.search.sesame.is_asked_ahead
        found.append((asks, "/mcp" in routes, json.loads(Layout(own.root).search_server.read_text())["token"] or ""))
        sockets[0].close()

    found: list[object] = []
    monkeypatch.setenv("HUBBLECLIP_TOKEN", token)
    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr("hubbleclip.cli.serving.threading", Mock())  # the model is not loaded
    run_command("serve", "--port=0", *words, f"--data={own.data}")
    assert found == [((is_private, is_private), "--public" not in words, token)]


@pytest.mark.slow
def test_ctrl_c_ends_the_server_and_removes_its_file(own: Settings) -> None:
    path = Layout(own.root).search_server
    with served(own) as (_, process):
        process.send_signal(signal.SIGINT)
        assert process.wait(120) in (0, 130)
        assert not path.exists()
        assert "Traceback" not in process.stderr.read()


def test_a_taken_port_is_one_line() -> None:
    with listen("127.0.0.1", 0) as opened, pytest.raises(HubbleclipError, match="choose another --port"):
        listen("127.0.0.1", opened.getsockname()[1])


def test_the_file_of_a_server_says_where_it_listens_while_it_runs(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path, seen = tmp_path / "server.json", []

    def run(server: uvicorn.Server, sockets: list[socket]) -> None:
        seen.append((json.loads(path.read_text()), oct(path.stat().st_mode)[-3:], sockets[0].getsockname()))
        given = TestClient(server.config.app, "http://localhost").get("/healthz?challenge=a").json()["proof"]
        assert given == proof_of(seen[-1][0]["instance"], "a")
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    for host, shown, token in (("127.0.0.1", "127.0.0.1", None), ("0.0.0.0", "127.0.0.1", "s3cret")):
        run_server(service_of(search), Access(host=host, token=token), 0, path)
        assert not path.exists()
        found, mode, address = seen.pop()
        assert (len(found.pop("instance")), mode, address[0]) == (32, "600", host)
        assert found == {"host": shown, "port": address[1], "token": token, "pid": os.getpid()}
        query = "?token=..." if token else ""
        assert f"search: http://{host}:{address[1]}/{query}, until Ctrl-C" in caplog.messages
    with registered(path, registration(1, "a")):
        path.write_text(json.dumps(asdict(registration(2, "b"))))
    assert path.is_file()  # that of a server which started later


@asynccontextmanager
async def standard_input(own: Settings) -> AsyncIterator[Client]:
    line = command("mcp", data=own.data)
    parameters = StdioServerParameters(
        command=line[0], args=line[1:], env=environment() | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    )
    async with Client(parameters) as client:
        yield client


@asynccontextmanager
async def http(own: Settings) -> AsyncIterator[Client]:
    with served(own, "--host", "0.0.0.0", HUBBLECLIP_TOKEN="s3cret") as (server, _):
        url = f"http://127.0.0.1:{server.port}/mcp"
        async with httpx2.AsyncClient() as refused:
            assert (await refused.post(url, json={})).status_code == 401
        headers = {"Authorization": "Bearer s3cret"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as web,
            Client(streamable_http_client(url, http_client=web)) as client,
        ):
            yield client


@pytest.mark.slow
@pytest.mark.parametrize("connect", [standard_input, http])
def test_agents_ask(own: Settings, connect) -> None:
    async def talk() -> None:
        async with connect(own) as client:
            found = await client.call_tool("search", {"q": ["spiral galaxy"], "exposure_s_min": 150, "k": 2})
            hits = found.structured_content["hits"]
            assert [hit["exposure_s"] >= 150 for hit in hits] == [True, True], found
            tile_id = hits[0]["tile_id"]
            assert (await client.call_tool("tile", {"tile_id": tile_id})).structured_content["wcs"]
            assert (await client.call_tool("explain", {"tile_id": tile_id})).structured_content["proposal_id"]
            counted = await client.call_tool("sql", {"query": "SELECT count(*) AS num FROM tile"})
            assert counted.structured_content["rows"][0]["num"] > 10

    asyncio.run(talk())


SEARCHES = {
    "text": ["spiral galaxy"],
    "text and like": ["comet", "--like", tile_id_of(2, 3), "--sort", "date"],
    "cone about a position": ["galaxy", "--cone", "13, -30", "--radius", "1"],
    "cone about a target": ["--cone", "ngc 105", "--group", "none"],
    "proposals": ["--proposal", "3", "--proposal", "hst:5", "--group", "none"],
    "filters": ["--exposure-s-min", "150", "--observed-to", "2017-09-08", "--no-moving", "--filter", "F814W"],
    "words": ["spiral galaxy", "--not", "dust", "--mode", "words"],
    "every tile": ["galaxy", "--group", "none", "-k", "40"],
}


def test_every_search_prints_the_same_through_the_server_and_alone(
    start, search: Search, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(searching, "PAGE_HITS", 7)  # of those that the server is asked for
    monkeypatch.setattr(embedding_process, "embed_ahead", lambda *_: None)
    monkeypatch.setattr(running_server, "CONNECT_S", 60.0)  # the machine may have other work
    layout, secret = search._layout, secrets.token_hex(16)
    port = int(start(service_of(search), Access(host="0.0.0.0", token="s3cret"), secret).rpartition(":")[2])

    def printed() -> dict[tuple[str, str], bytes]:
        found = {}
        for name, form in (*((name, "json") for name in SEARCHES), ("every tile", "csv"), ("every tile", "votable")):
            with suppress(SystemExit):
                main(["search", *SEARCHES[name], "--format", form, "--data", str(layout.root.parent)])
            found[name, form] = capsysbinary.readouterr().out
        return found

    monkeypatch.setattr(engine, "Search", None)
    with registered(layout.search_server, registration(port, secret, "s3cret")):
        through = printed()
    monkeypatch.setattr(engine, "Search", lambda _: search)
    assert through == printed()
    assert [len(json.loads(through[name, "json"])) for name in SEARCHES] == [8, 8, 1, 6, 10, 4, 2, 40]
    assert through["every tile", "csv"].count(b"\n") == through["every tile", "votable"].count(b"<TR>") + 1 == 41


def registration(port: int, instance: str, token: str | None = None) -> RunningServer:
    return RunningServer(host="127.0.0.1", port=port, instance=instance, token=token, pid=1)


def test_another_server_at_the_same_port_is_not_believed_and_gets_no_token(tmp_path: Path) -> None:
    claim = json.dumps({"status": "ok", "instance": "i" * 32, "proof": "i" * 32}).encode()
    path = tmp_path / "server.json"
    with BadServer(give(claim)) as other, registered(path, registration(other.port, "i" * 32, "s3cret")):
        assert find_server(path) is None
    assert other.seen
    assert not [text for text in ("s3cret", "i" * 32) if text in str(other.seen)]


def test_a_server_is_known_by_its_secret_alone(
    start, search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_server, "CONNECT_S", 60.0)
    secret, path = secrets.token_hex(16), tmp_path / "server.json"
    port = int(start(service_of(search), instance=secret).rpartition(":")[2])
    for instance, is_found in ((secret, True), (secrets.token_hex(16), False)):
        with registered(path, registration(port, instance)):
            found = find_server(path)
        assert (found is not None) == is_found
        if found:
            assert secret not in json.dumps(ask(found, "/healthz?challenge=a"))
            with pytest.raises(HubbleclipError, match="k: Input should be greater"):
                ask(found, "/api/v1/search?k=0")
    with BadServer(give(b"{")) as other:
        pass
    with registered(path, registration(other.port, secret)):
        assert find_server(path) is None
    with pytest.raises(HubbleclipError, match=f"port {other.port} does not answer"):
        ask(registration(other.port, secret), "/")
    with BadServer(give(b"{}", 500)) as other, pytest.raises(HubbleclipError, match="answers with status 500"):
        ask(registration(other.port, secret), "/")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"host": 1}', '{"host": "127.0.0.1", "port": "x", "instance": "", "token": null, "pid": 1}'],
)
def test_a_damaged_file_is_no_server(content: str, tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    assert find_server(path) is None
    path.write_text(content)
    assert find_server(path) is None
