"""An index run that is killed, runs twice at once or finds damaged files: the same index, the old one, or one line."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment
from search_site import add_tiles, settings_of

from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.index import index
from hubbleclip.search.engine import Search
from hubbleclip.search.open_index import read_current
from hubbleclip.search.params import SearchParams

BATCHED = {"batch_size": 2, "append_rows": 4}
QUERY = SearchParams(q="galaxy", k=5)
# The audit event of `os.replace` comes before the file has its name, so the process ends at the same step each time.
INDEX = f"""
import fnmatch, os, signal, sys
from hubbleclip.config.settings import read_settings
from hubbleclip.pipeline.index import index

def kill(event, args):
    if event == "os.rename" and fnmatch.fnmatch(os.fspath(args[1]), pattern):
        os.kill(os.getpid(), signal.SIGKILL)

data, pattern = sys.argv[1:]
sys.addaudithook(kill)
index(read_settings("demo", {{"data": data}}), **{BATCHED})
"""


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of an index that one undisturbed run has made in the steps `BATCHED`."""
    data = shutil.copytree(made, tmp_path_factory.mktemp("whole") / "data")
    index(settings_of(data), **BATCHED)
    return files_of(data)


def start_index(data: Path, killed_at: str = "") -> subprocess.Popen[str]:
    """Run the stage in a process, which sends itself SIGKILL before it gives a file a name like `killed_at`."""
    words = [sys.executable, "-c", INDEX, str(data), killed_at]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment())


def files_of(data: Path) -> dict[str, bytes]:
    folder = Layout(settings_of(data).root).index
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern",
    [pytest.param(name, marks=pytest.mark.nightly) for name in ("*/current.json", "*/index.json")]
    + ["*-000000008.f16"],
)
def test_a_run_after_a_killed_one_makes_the_same_files(
    own_site: Settings, whole: dict[str, bytes], pattern: str
) -> None:
    killed = start_index(own_site.data, pattern)
    error = killed.communicate()[1]
    assert killed.returncode == -signal.SIGKILL, error
    with pytest.raises(SearchError, match="no search index"):
        Search.open(own_site)
    assert files_of(own_site.data).keys() != whole.keys()
    index(own_site, **BATCHED)
    assert files_of(own_site.data) == whole


@pytest.mark.nightly
def test_two_runs_at_once_make_the_index_of_one(own_site: Settings, whole: dict[str, bytes]) -> None:
    runs = [start_index(own_site.data) for _ in range(2)]
    errors = [run.communicate()[1] for run in runs]
    assert 0 in {run.returncode for run in runs}
    for run, text in zip(runs, errors, strict=True):
        assert run.returncode == 0 or "the catalog is being written by process" in text.strip().splitlines()[-1]
    assert files_of(own_site.data) == whole


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize("pattern", ["current.json", "*/index.json", "*/*.f16", "*/*.i8", "*/*.parquet"])
def test_a_damaged_index_is_one_line_and_the_old_one_answers_where_it_is_open(own_site: Settings, pattern: str) -> None:
    index(own_site)
    search = Search.open(own_site)
    expected = search.run(QUERY).hits
    add_tiles(own_site, range(2), range(6, 7))
    index(own_site)
    path = max(Layout(own_site.root).index.glob(pattern))  # of the segments, the new one
    content = path.read_bytes()
    places = (min(100, len(content) // 2), len(content) - 9)  # among ids, features or codes, and at the end
    for damaged in (*(flipped(content, place) for place in places), content[:-9], b"", None):
        path.unlink(missing_ok=True)
        if damaged is not None:
            path.write_bytes(damaged)
        assert search.run(QUERY).hits == expected
        with pytest.raises(SearchError, match="hubbleclip index") as error:
            Search.open(own_site)
        assert damaged is None or path.name in str(error.value)
        assert "\n" not in str(error.value)


def test_an_index_without_its_folder_is_one_line(own_site: Settings) -> None:
    index(own_site)
    layout = Layout(own_site.root)
    shutil.rmtree(layout.model_index(read_current(layout).model_digest))
    with pytest.raises(SearchError, match="0 of 48 tiles: run `hubbleclip index`"):
        Search.open(own_site)
