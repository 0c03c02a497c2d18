"""Judge hits by the kind of object that the simulator drew, which no search reads."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.simulator.plans import plan_of, proposal_index

QUERIES = Path(__file__).with_name("queries.toml")
TILES = """
SELECT tile_id, t.proposal_id, target_name, target_class, split
FROM tile t JOIN observation USING (obs_id) LEFT JOIN split USING (tile_id) ORDER BY tile_id
"""
Gains = Mapping[str, int]
"""How well objects answer a query, by kind, or by kind and variant such as `spiral galaxy: edge-on`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnTile:
    """What a simulated tile shows, with its proposal and its split."""

    proposal_id: str
    split: str | None
    kind: str
    variant: str

    def gain(self, gains: Gains) -> int:
        """Return how well the tile answers a query."""
        return gains.get(f"{self.kind}: {self.variant}", gains.get(self.kind, 0))


def read_queries(path: Path = QUERIES) -> dict[str, dict[str, int]]:
    """Read the queries."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def drawn_tiles(catalog: Catalog, settings: SimulatorSettings) -> dict[str, DrawnTile]:
    """Look up what the simulator drew on each tile, in the observing plans that it derives from its settings."""
    tiles = {}
    for row in catalog.rows(TILES):
        plan = plan_of(settings, proposal_index(row["proposal_id"].partition(":")[2]))
        variants = {target.name.upper().replace(" ", "-"): target.variant for target in plan.targets}
        if row["target_class"] != f"SIMULATED;{plan.kind.name.upper()}" or row["target_name"] not in variants:
            raise HubbleclipError(
                "the catalog is not that of the simulated archive which the settings describe: only of that archive "
                "the kind of every object is known"
            )
        tiles[row["tile_id"]] = DrawnTile(
            proposal_id=row["proposal_id"],
            split=row["split"],
            kind=plan.kind.name,
            variant=variants[row["target_name"]],
        )
    return tiles
