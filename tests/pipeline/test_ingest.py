"""The query goes on from its watermark, and an error never loses what was written before it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import valid_catalog
from stages import observation, rejection, stage_at

from hubbleclip.archives.base import ObservationPage
from hubbleclip.catalog.pending import pending_proposals
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.records import Observation, Proposal, Rejection
from hubbleclip.pipeline.engine.attempts import MAX_RUNS, Step
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.ingest.run import fetch_proposals, query_observations, write_proposals

FIRST_MJD = 48005.0
F1, F2 = "1" * 32, "2" * 32
STEP = Step(name="fetch-proposals", stage="proposals", entity="proposal", digest="d")


class Paged:
    """An archive of these pages; an error in place of a page is raised."""

    name = "hst"
    is_local = False

    def __init__(self, *pages: list[Observation] | Exception) -> None:
        self.pages = pages
        self.asked_since: list[float] = []

    def query_observations(self, since_mjd: float, until_mjd: float | None = None) -> Iterator[ObservationPage]:
        self.asked_since.append(since_mjd)
        for page in self.pages:
            if isinstance(page, Exception):
                raise page
            yield ObservationPage(observations=page)


def released(obs_id: str, mjd: float, fingerprint: str = F1) -> Observation:
    return replace(observation(obs_id, fingerprint=fingerprint), released_mjd=mjd)


def mark(stage: Stage) -> list[float]:
    return [row["released_mjd"] for row in stage.catalog.rows("FROM watermark")]


@pytest.mark.parametrize(
    ("archive_settings", "marks"), [({"calib_levels": [3]}, [60000.0, 60020.0]), ({"from_raw": True}, [60000.0])]
)
def test_other_settings_ask_from_the_beginning_and_landed_answers_move_no_mark(
    archive_settings: dict, marks: list[float], tmp_path: Path
) -> None:
    with stage_at(tmp_path) as stage:
        query_observations(stage, Paged([released("a", 60000.0)]))
    archive = Paged([released("a", 60000.0, F2), released("b", 60020.0)])
    with stage_at(tmp_path, {"archive": archive_settings}) as stage:
        query_observations(stage, archive)
        assert (archive.asked_since, sorted(mark(stage))) == ([FIRST_MJD], marks)
        assert stage.catalog.counts()["observation"] == 2


class Office:
    """An archive that knows some proposals."""

    name = "hst"

    def __init__(self, *numbers: str, is_down: bool = False) -> None:
        self.numbers = numbers
        self.is_down = is_down

    def fetch_proposals(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        if self.is_down:
            raise ArchiveError("no bulk list")
        found = [proposal(number) for number in numbers if number in self.numbers]
        missing = [rejection("proposal", f"hst:{n}", "proposals") for n in numbers if n not in self.numbers]
        return found, missing


def proposal(number: str) -> Proposal:
    return replace(valid_catalog.proposal(number), title="A title")


def test_proposals_that_cannot_be_had_at_all_wait_together_without_end(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"observation": [observation("a", "hst:1"), observation("b", "hst:2")]})
        for _ in range(MAX_RUNS + 1):
            write_proposals(stage, fetch_proposals(["1", "2"], Office(is_down=True), STEP))
        assert [row["entity_id"] for row in stage.catalog.rows("FROM attempt ORDER BY ALL")] == ["hst:1", "hst:2"]


def test_landed_proposals_are_read_again_and_those_not_landed_are_no_failures(tmp_path: Path) -> None:
    with stage_at(tmp_path, {"archive": {"from_raw": True}}) as stage:
        stage.catalog.upsert({"observation": [observation("a", "hst:1"), observation("b", "hst:2")]})
        stage.catalog.upsert({"proposal": [replace(proposal("1"), title="As read before")]})
        assert list(pending_proposals(stage.catalog, stage.settings.archive)) == ["hst:1", "hst:2"]
        write_proposals(stage, fetch_proposals(["1", "2"], Office("1"), STEP))
        assert [row["title"] for row in stage.catalog.rows("FROM proposal")] == ["A title"]
        assert stage.catalog.counts()["attempt"] == 0


def test_a_proposal_without_an_abstract_is_asked_for_again_once_in_a_while(tmp_path: Path) -> None:
    bare = replace(proposal("1"), abstract=None)
    with stage_at(tmp_path, {"archive": {"relist_days": 30}}) as stage:
        stage.catalog.upsert({"observation": [observation("a", "hst:1"), observation("b", "hst:2")]})
        stage.catalog.upsert({"proposal": [bare, proposal("2")]})
        assert pending_proposals(stage.catalog, stage.settings.archive) == {"hst:1": True}
        assert list(pending_proposals(stage.catalog, stage.settings.archive, again=True)) == ["hst:1", "hst:2"]
        write_proposals(stage, {"proposal": [replace(bare, fetched_at=datetime.now(UTC))]}, dated={"hst:1"})
        assert pending_proposals(stage.catalog, stage.settings.archive) == {}
