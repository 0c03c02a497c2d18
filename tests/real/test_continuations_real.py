"""Continuations among the titles of real programmes: pairs told apart by eye, and how far the rules reach."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from valid_catalog import make

from hubbleclip.core.records import Proposal
from hubbleclip.dataset.splits.continuations import continuation_links
from hubbleclip.dataset.splits.near_duplicates import group_proposals

TITLES = Path(__file__).parents[2].parent / "shared/data/proposals/titles.tsv"

pytestmark = [pytest.mark.real, pytest.mark.skipif(not TITLES.is_file(), reason=f"no real titles at {TITLES}")]


@pytest.fixture(scope="module")
def proposals():
    with TITLES.open(encoding="utf-8", newline="") as lines:
        rows = {
            f"hst:{row['proposal_id']}": row for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        }
    named = {"archive": "hst", "abstract": None}
    return {
        name: make(Proposal, proposal_id=name, number=name[4:], title=row["title"], pi=row["pi"], **named)
        for name, row in rows.items()
    }


@pytest.fixture(scope="module")
def roots(proposals):
    return group_proposals(proposals, list(continuation_links(proposals)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (12758, 13465),  # ...Coronal Recession?  (year 3 continuation)
        (14149, 16024),  # Continuing a Snapshot Survey...  : Cycles 25 & 26
        (10272, 15166),  # A Snapshot Survey...  Continuing a Snapshot Survey...
        (9587, 9694),  # another PI, Part III.
        (5700, 6226),  # another PI, Cycle 4 Carryover
        (6126, 6601),  # another PI, Part 2
        (5974, 6720),  # II
        (7461, 7880),  # , Continued
        (5106, 6280),  # (WC03): Cycle 5
        (10401, 10841),  # (2nd Epoch Observations)
        (6310, 6329),  # GTO Proposal Continuation of #6310
        (9146, 9967),  # (Cycle 12 continuation of 9146)
        (5332, 5336),  # both Continuation of 2565, which is not there
    ],
)
def test_real_continuations_are_linked(roots, one, other):
    assert roots[f"hst:{one}"] == roots[f"hst:{other}"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (6264, 6269),  # Parallax of RR Lyrae, of TV Col
        (5106, 5107),  # Planetary Nebular Structure (WC03), Planetary Nebulae Nuclei Photometry (WC04)
        (14753, 14904),  # Supernova 1987A at 30 years, after 30 years
        (11329, 12880),  # Completing a Rich Cepheid Field, Completing HST's Legacy
        (14818, 13152),  # CCD Dark Monitor, CCD Daily Monitor
        (13028, 10430),  # two on star formation in dwarf companions
    ],
)
def test_real_programmes_on_related_things_stay_apart(roots, one, other):
    assert roots[f"hst:{one}"] != roots[f"hst:{other}"]


def test_real_series_are_many_and_none_swallows_the_rest(roots):
    sizes = Counter(roots.values())
    assert 1500 < len(roots) - len(sizes) < 2500
    assert max(sizes.values()) < 0.005 * len(roots)
