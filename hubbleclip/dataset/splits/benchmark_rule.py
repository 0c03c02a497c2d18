"""The rule that draws the programmes of the frozen image-text benchmark by their numbers; it never changes.

The rule needs no list, so it also holds for programmes of the future. The protocol is in
`hubbleclip/evaluation/benchmarks/README.md`.
"""

from __future__ import annotations

from hubbleclip.dataset.shard_writer import unit_hash

BENCHMARK = "hubble-image-text-1"
"""Name of the benchmark, which is also the salt of its hash. Another rule gets another name."""
SHARE = 0.1
"""Share of the programmes that are drawn."""


def is_benchmark_program(number: str) -> bool:
    """Return whether a programme belongs to the benchmark."""
    return unit_hash(f"{BENCHMARK}:{number}") < SHARE


def program_number(proposal_id: str) -> str | None:
    """Return the programme number of a proposal."""
    number = proposal_id.rpartition(":")[2]
    return str(int(number)) if number.isascii() and number.isdigit() else None
