"""Who reads the published snapshot sees whole states, whatever happens to the writer."""

import random
import shutil
import signal
import subprocess
import sys
import time

import duckdb
import pytest
from test_catalog import MAKERS
from valid_catalog import broken_rules

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout

WRITER = """
import sys
from pathlib import Path
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Watermark
sys.path.insert(0, sys.argv[4])
from valid_catalog import make, observation, proposal

with writing_catalog(Layout(Path(sys.argv[1])), publish_every_s=float(sys.argv[2])) as catalog:
    first = catalog.counts()["watermark"]
    for number in range(first, first + int(sys.argv[3])):
        mark = make(Watermark, archive=f"a{number}")
        seen = [observation(f"{number} {index}") for index in range(50)] + [observation("newest", title=str(number))]
        catalog.upsert({"proposal": [proposal("1")], "observation": seen, "watermark": [mark]})
        print(number, flush=True)
"""
STATE = """
SELECT (SELECT count(*) FROM watermark), (SELECT count(*) FROM observation WHERE obs_id <> 'newest'),
       (SELECT max(title::INT) FROM observation WHERE obs_id = 'newest')
"""


def start(layout: Layout, publish_every_s: float, num: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(layout.root), str(publish_every_s), str(num), MAKERS]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def read_state(layout: Layout) -> int:
    """Number of batches in the snapshot, as a plain session sees it; each must be there whole."""
    with duckdb.connect(str(layout.catalog), read_only=True) as plain:
        ((num, num_seen, newest),) = plain.execute(STATE).fetchall()
    assert num_seen == 50 * num
    assert newest == (num - 1 if num else None)
    return num


@pytest.fixture(autouse=True)
def _empty(layout: Layout) -> None:
    with writing_catalog(layout):
        pass


@pytest.mark.nightly
def test_killed_at_random_moments_no_told_batch_is_lost_and_none_is_torn(layout: Layout) -> None:
    rng = random.Random(3)
    reported = -1
    for _ in range(4):
        with start(layout, 0.1, 10_000) as writer:
            assert writer.stdout is not None
            reported = int(writer.stdout.readline())
            time.sleep(rng.uniform(0, 0.5))
            writer.send_signal(signal.SIGKILL)
            reported = max([reported, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        read_state(layout)
        with writing_catalog(layout) as catalog:
            assert catalog.counts()["watermark"] in {reported + 1, reported + 2}
            assert broken_rules(catalog.query) == []
        assert read_state(layout) > reported, "what the killed writer had not published is published by the next one"
    assert not list(layout.root.glob(".catalog*.tmp"))


@pytest.mark.slow
def test_a_log_that_a_killed_session_left_beside_the_snapshot_does_not_spoil_the_next_one(layout: Layout) -> None:
    beside = layout.catalog.with_name("catalog.duckdb.wal")
    with duckdb.connect(str(layout.catalog)) as session:
        session.execute("CREATE TABLE notes (text VARCHAR)")
        shutil.copyfile(beside, beside.with_suffix(".kept"))
    beside.with_suffix(".kept").replace(beside)
    with start(layout, 300, 3) as writer:
        writer.communicate()
    assert read_state(layout) == 3
