"""Measure how much of an abstract may be new before two proposals are no longer linked by their texts.

`python -m experiments.near_duplicates ABSTRACTS.jsonl` (`{"abstract": ...}` per line) writes the table of the page
docs/concepts.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cyclopts import App

from experiments.running import ROOT, markdown, run, update_page
from hubbleclip.config.settings import SplitSettings
from hubbleclip.dataset.splits.near_duplicates import shingles, similarity

PAGE = ROOT / "docs/concepts.md"
NUM_WORDS = 150
REWORDED = (2, 4, 6, 8, 10, 15)
"""Numbers of single words, at random places, that are replaced."""
NEW = (15, 30, 45, 60, 75)
"""Numbers of words at the end that are replaced, as in a new last part."""
Change = Callable[[list[str], list[str], np.random.Generator], list[str]]
app = App()


def reworded(count: int) -> Change:
    """Replace single words at random places."""

    def change(words: list[str], others: list[str], rng: np.random.Generator) -> list[str]:
        changed = list(words)
        for place in rng.choice(len(words), count, replace=False):
            changed[place] = others[place]
        return changed

    return change


def ended(count: int) -> Change:
    """Replace the last words by those of another abstract."""
    return lambda words, others, _: words[:-count] + others[-count:]


def linked_share(texts: list[list[str]], change: Change) -> float:
    """Compute the share of texts that are still linked to their changed copy."""
    rng, smallest = np.random.default_rng(0), SplitSettings().near_duplicate
    return float(
        np.mean(
            [
                similarity(shingles(" ".join(words)), shingles(" ".join(change(words, others, rng)))) >= smallest
                for words, others in zip(texts, [*texts[1:], texts[0]], strict=True)
            ]
        )
    )


@app.default
def main(abstracts: Path) -> None:
    """Measure the links and write the table."""
    rows = [json.loads(line)["abstract"] or "" for line in abstracts.read_text(encoding="utf-8").splitlines()]
    texts = [row.split()[:NUM_WORDS] for row in dict.fromkeys(rows) if len(row.split()) >= NUM_WORDS]
    made = [(f"{count} single words", reworded(count)) for count in REWORDED]
    made += [(f"the last {count} words", ended(count)) for count in NEW]
    found = [[f"{name} of {NUM_WORDS}", f"{100 * linked_share(texts, change):.0f} %"] for name, change in made]
    update_page(PAGE, {"near-duplicates": markdown(["new", f"still linked, of {len(texts)} abstracts"], found)})


if __name__ == "__main__":
    run(app)
