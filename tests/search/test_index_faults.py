"""An index run that is killed, runs twice at once or finds damaged files: the same index, the old one, or one line."""

import shutil
import subprocess
from pathlib import Path

import pytest
from commands import command, environment, kill_at_rename
from search_site import NUM_PROPOSALS, TILES_EACH, add_tiles, settings_of

from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.index import index
from hubbleclip.search.engine import Search
from hubbleclip.search.open_index import open_current, read_current
from hubbleclip.search.params import SearchParams

NUM_TILES = NUM_PROPOSALS * TILES_EACH
BATCHED = {"index.batch_size": 2, "index.append_rows": 4}
QUERY = SearchParams(q="galaxy", k=5)


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of an index that one undisturbed run has made with the settings `BATCHED`."""
    data = shutil.copytree(made, tmp_path_factory.mktemp("whole") / "data")
    index(settings_of(data, index={"batch_size": 2, "append_rows": 4}))
    return files_of(data)


def files_of(data: Path) -> dict[str, bytes]:
    folder = Layout(settings_of(data).root).index
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["*/current.json", "*/index.json", "*-000000008.f16"])
def test_a_run_after_a_killed_one_makes_the_same_files(
    own_site: Settings, whole: dict[str, bytes], pattern: str
) -> None:
    words = ("index", "--no-server")
    kill_at_rename(pattern, *words, data=own_site.data, settings=BATCHED)
    with pytest.raises(SearchError, match="no search index"):
        Search.open(own_site)
    assert files_of(own_site.data).keys() != whole.keys()
    subprocess.run(command(*words, data=own_site.data, settings=BATCHED), check=True, env=environment())
    assert files_of(own_site.data) == whole


@pytest.mark.slow
def test_two_runs_at_once_make_the_index_of_one(own_site: Settings, whole: dict[str, bytes]) -> None:
    words = command("index", "--no-server", data=own_site.data, settings=BATCHED)
    runs = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment()) for _ in range(2)]
    errors = [run.communicate()[1] for run in runs]
    assert 0 in {run.returncode for run in runs}
    for run, text in zip(runs, errors, strict=True):
        assert run.returncode == 0 or "the catalog is being written by process" in text.strip().splitlines()[-1]
    assert files_of(own_site.data) == whole


def flipped(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize("pattern", ["current.json", "*/index.json", "*/*.f16", "*/*.i8", "*/*.parquet"])
def test_a_damaged_index_is_one_line_and_the_old_one_answers_where_it_is_open(own_site: Settings, pattern: str) -> None:
    index(own_site)
    search = Search.open(own_site)
    expected = search.run(QUERY).hits
    add_tiles(own_site, range(2), range(6, 7))
    index(own_site)
    path = max(Layout(own_site.root).index.glob(pattern))  # of the segments, the new one
    content = path.read_bytes()
    for damaged in (flipped(content), content[:-9], b"", None):
        path.unlink(missing_ok=True)
        if damaged is not None:
            path.write_bytes(damaged)
        assert search.run(QUERY).hits == expected
        with pytest.raises(SearchError, match="hubbleclip index") as error:
            Search.open(own_site)
        assert "\n" not in str(error.value)


def test_an_index_without_its_folder_is_one_line(own_site: Settings) -> None:
    index(own_site)
    layout = Layout(own_site.root)
    current = read_current(layout)
    shutil.rmtree(layout.model_index(current.model_digest))
    with pytest.raises(SearchError, match="hubbleclip index"):
        open_current(layout, current)
