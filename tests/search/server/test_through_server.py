"""`hubbleclip search` gives the same through the running server and alone, and believes no other server."""

import json
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from commands import environment, run
from real_server import served
from search_site import tile_id_of
from web_search import service_of

from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search.engine import Search
from hubbleclip.search.server.running_server import RunningServer, ask, find_server, registered
from tests.bad_server import BadServer, give

SEARCHES = {
    "text": ["spiral galaxy"],
    "like": ["--like", tile_id_of(5, 1)],
    "text and like": ["comet", "--like", tile_id_of(2, 3)],
    "cone about a position": ["galaxy", "--cone", "13, -30"],
    "cone about a target": ["--cone", "ngc 105", "--group", "none"],
    "proposals": ["--proposal", "3", "--proposal", "hst:5", "--group", "none"],
    "filters": ["--exposure-s-min", "150", "--observed-to", "2017-09-08", "--no-moving", "--filter", "F814W"],
    "text to avoid": ["galaxy", "--not", "spiral"],
    "model": ["spiral galaxy", "--mode", "model"],
    "words": ["spiral galaxy", "--mode", "words"],
    "every tile": ["galaxy", "--group", "none", "-k", "40"],
}
PRINT_ALL = """
import io, json, sys
from hubbleclip.cli import searching
from hubbleclip.cli.app import main
searching.PAGE_HITS = 7
printed = []
for words in json.load(sys.stdin):
    sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    try:
        main(words)
    except SystemExit as ended:
        assert ended.code in (None, 0), ended.code
    sys.stdout.flush()
    printed.append(sys.stdout.buffer.getvalue().decode())
json.dump(printed, sys.__stdout__)
"""


def print_all(data: Path) -> dict[tuple[str, str], str]:
    """What the command prints for every search, one in every format; the server is asked for pages of 7 hits."""
    keys = [*((name, "json") for name in SEARCHES), ("every tile", "csv"), ("every tile", "votable")]
    lines = [["search", *SEARCHES[name], "--format", form, "--data", str(data)] for name, form in keys]
    code = [sys.executable, "-c", PRINT_ALL]
    done = subprocess.run(code, input=json.dumps(lines), capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(keys, json.loads(done.stdout), strict=True))


@pytest.fixture(scope="module")
def alone(site: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the data folder, for which no server runs."""
    return shutil.copytree(site.data, tmp_path_factory.mktemp("alone") / "data")


@pytest.fixture(scope="module")
def server(site: Settings) -> Iterator[tuple[RunningServer, subprocess.Popen]]:
    with served(site) as found:
        yield found


@pytest.mark.slow
def test_every_search_gives_the_same_through_the_server_and_alone(site: Settings, alone: Path, server) -> None:
    through = print_all(site.data)
    assert print_all(alone) == through
    for name in SEARCHES:
        hits = json.loads(through[name, "json"])
        assert hits, name
    hits = json.loads(through["every tile", "json"])
    assert len(hits) > 30
    assert through["every tile", "csv"].count("\n") == len(hits) + 1
    assert all(hit["tile_id"] in through["every tile", "votable"] for hit in hits)
    text = urlopen(f"http://127.0.0.1:{server[0].port}/metrics").read().decode()
    assert int(text.partition('route="/api/v1/search",status="200"} ')[2].split(".")[0]) > len(SEARCHES)


@pytest.mark.slow
def test_a_killed_server_is_not_believed(site: Settings, server) -> None:
    _, process = server
    process.send_signal(signal.SIGKILL)
    process.wait()
    path = Layout(site.root).search_server
    assert path.is_file()
    assert find_server(path) is None
    assert len(json.loads(run("search", "comet", "-k", "3", "--json", data=site.data).out)) == 3


def registration(port: int, instance: str, token: str | None = None) -> RunningServer:
    return RunningServer(host="127.0.0.1", port=port, instance=instance, token=token, pid=1)


def test_another_server_at_the_same_port_is_not_believed_and_gets_no_token(tmp_path: Path) -> None:
    claim = json.dumps({"status": "ok", "instance": "i" * 32, "proof": "i" * 32}).encode()
    path = tmp_path / "server.json"
    with BadServer(give(claim)) as other, registered(path, registration(other.port, "i" * 32, "s3cret")):
        assert find_server(path) is None
    assert other.seen
    assert not [text for text in ("s3cret", "i" * 32) if text in str(other.seen)]


def test_a_server_is_known_by_its_secret_alone(start, search: Search, tmp_path: Path) -> None:
    secret, path = secrets.token_hex(16), tmp_path / "server.json"
    port = int(start(service_of(search), instance=secret).rpartition(":")[2])
    for instance, is_found in ((secret, True), (secrets.token_hex(16), False)):
        with registered(path, registration(port, instance)):
            found = find_server(path)
        assert (found is not None) == is_found
        if found:
            assert secret not in json.dumps(ask(found, "/healthz?challenge=a"))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"host": 1}', '{"host": "127.0.0.1", "port": "x", "instance": "", "token": null, "pid": 1}'],
)
def test_a_damaged_file_is_no_server(content: str, tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    assert find_server(path) is None
    path.write_text(content)
    assert find_server(path) is None
