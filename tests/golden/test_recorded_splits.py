"""The split of every tile of a made archive over three nights, for each scheme, with the report and its tables."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sky_cases import material, observation, proposal, square, tile

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Observation, Proposal, SplitAssignment, Tile
from hubbleclip.dataset.splits.assign import LATE_LINK, assign_splits
from hubbleclip.dataset.splits.material import Material
from hubbleclip.dataset.splits.schemes import RANDOM
from hubbleclip.pipeline.shards import report_splits

NUM_PROPOSALS = 220
SETTINGS = SplitSettings(val_share=0.15, test_share=0.2, salt="s", guard_arcsec=5.0)
SCHEMES = {
    "random": {},
    "random with caps": {"max_tiles_per_proposal": 3, "max_tiles_per_patch": 6},
    "random of near copies": {"near_duplicate": 0.9},
    "instrument": {"scheme": "instrument", "test_instruments": ("WFPC2*", "ACS/SBC")},
    "cycle": {"scheme": "cycle", "test_from_cycle": 26},
    "benchmark": {"scheme": "benchmark"},
}
WORDS = re.findall(
    r"\w+",
    "star galaxy dust lens nova halo disk jet arm bulge ring shell spectrum image field cluster "
    "survey orbit planet comet moon core wind shock",
)
PLACEHOLDERS = ("not available", "No abstract available.", "N/A", "TBD")
BODIES = ("67P", "COMET-67P-CHURYUMOV", "HAUMEA", "136108-HAUMEA", "C/2012-S1", "COMET-ISON", "JUPITER-POLE", "JUPITER")
INSTRUMENTS = ("WFC3/UVIS", "ACS/WFC", "WFPC2/WFC", "ACS/SBC", "WFC3/IR")


def made_proposals(rng: random.Random) -> list[Proposal]:
    """Abstracts of their own, near copies, parts of others and place-holders; series, citations and shared titles."""
    found: list[Proposal] = []
    for index in range(NUM_PROPOSALS):
        text = " ".join(rng.choices(WORDS, k=rng.randint(30, 90)))
        earlier = rng.choice(found).abstract.split() if found else text.split()
        kind = index % 10
        if kind == 1:
            text = " ".join(word if rng.random() > 0.03 else "other" for word in earlier)
        elif kind == 3:
            text = " ".join([*earlier, *rng.choices(WORDS, k=len(earlier) * 3 // 5)])
        elif kind == 5:
            text = rng.choice(PLACEHOLDERS)
        elif kind == 7:
            text += f". This is a continuation of program {10_000 + rng.randrange(NUM_PROPOSALS)}."
        title = f"A survey of {rng.choice(WORDS)} and {rng.choice(WORDS)} {index // 4} in two filters"
        if index % 6 == 2:
            title = f"The structure of many a {WORDS[index % 7]} in nearby space - Part {'I' * (1 + index % 3)}"
        one = proposal(f"hst:{10_000 + index}", text)
        found.append(
            replace(one, number=str(10_000 + index), title=title, cycle=20 + index % 9, pi=f"{WORDS[index % 5]}, A.")
        )
    return found


def made_observations(rng: random.Random, proposals: list[Proposal]) -> list[tuple[Observation, list[Tile]]]:
    """Make observations that overlap those of other proposals; footprints are polygons, circles or missing."""
    found = []
    for index, of in enumerate(proposals):
        for number in range(rng.randint(1, 3)):
            place = rng.randrange(150) if index % 4 else 100 + index
            dec_deg = (-80 + 2.7 * place) % 160 - 80
            ra_deg = (7.3 * place + rng.uniform(-0.01, 0.01)) % 360
            dec_deg += rng.uniform(-0.01, 0.01)
            obs_id, is_moving = f"obs {index} {number}", index % 15 == 4
            corners = square(ra_deg, dec_deg, 120, rng.uniform(0, 90))
            footprint = (
                f"POLYGON ICRS {' '.join(f'{c:.6f}' for c in corners)}",
                f"CIRCLE {ra_deg:.6f} {dec_deg:.6f} 0.02",
                None,
            )[rng.randrange(3)]
            one = replace(
                observation(
                    obs_id, of.proposal_id, BODIES[index // 15 % len(BODIES)] if is_moving else f"T{place}", is_moving
                ),
                instrument=INSTRUMENTS[(index + number) % 5],
                ra_deg=ra_deg,
                dec_deg=dec_deg,
                footprint=footprint,
            )
            tiles = []
            for part in range(rng.randint(1, 4)):
                has_place = not is_moving and rng.random() < 0.8
                around = (ra_deg + rng.uniform(-0.01, 0.01), dec_deg + rng.uniform(-0.01, 0.01))
                shape = square(*around, 25, rng.uniform(0, 90)) if has_place else ()
                made = tile(f"{obs_id} {part}", of.proposal_id, shape, obs_id)
                at = {"ra_deg": around[0] % 360, "dec_deg": around[1]} if has_place else {}
                tiles.append(
                    replace(
                        made, product_sha256=f"{index % 16:x}{number}" * 32, product_uri=f"u{obs_id}{part // 2}", **at
                    )
                )
            found.append((one, tiles))
    return found


@pytest.fixture(scope="module")
def nights() -> list[Material]:
    """What is known after each night: tiles arrive in any order, and some abstracts a night after their tiles."""
    rng = random.Random(11)
    proposals = made_proposals(rng)
    observed = made_observations(rng, proposals)
    rng.shuffle(observed)
    late = {one.proposal_id for one in proposals if rng.random() < 0.5}
    found = []
    for night, share in enumerate((0.5, 0.8, 1.0)):
        known = observed[: int(share * len(observed))]
        texts = {
            one.proposal_id: replace(one, abstract=None) if one.proposal_id in late and night < 2 else one
            for one in proposals
        }
        tiles = [one for _, of_observation in known for one in of_observation]
        found.append(material(tiles, {one.obs_id: one for one, _ in known}, texts))
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_splits_of_three_nights_are_those_recorded(nights, scheme, compare_recorded):
    settings = SETTINGS.model_copy(update=SCHEMES[scheme])
    existing: dict[str, SplitAssignment] = {}
    found: dict[str, Any] = {}
    for night, known in enumerate(nights, 1):
        new = assign_splits(known, existing, settings)
        existing |= {one.tile_id: one for one in new}
        proposal_of = {one.tile_id: one.proposal_id for one in known.tiles}
        counts = Counter((proposal_of[one.tile_id], f"{one.group_id[:6]} {one.reason or one.split}") for one in new)
        for (proposal_id, where), num_tiles in sorted(counts.items()):
            found.setdefault(f"night {night}: {proposal_id}", []).append(f"{num_tiles} {where}")
        found[f"night {night}"] = digest_of(new)
    assert {one.split for one in existing.values()} == {"train", "val", "test", "excluded"}
    if settings.scheme == RANDOM:
        assert LATE_LINK in {one.reason for one in existing.values()}
    report, tables = report_splits(nights[-1], existing, settings)
    found |= report | {f"table {name}": [len(table), digest_of(table.to_pylist())] for name, table in tables.items()}
    compare_recorded(f"splits_{scheme.replace(' ', '_')}.json", found)


def digest_of(rows: Sequence[object]) -> str:
    return sha256_bytes("\n".join(map(repr, rows)).encode())
