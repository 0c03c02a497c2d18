"""Read the contents and the pending work of a profile from the published catalog and the run directories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from textwrap import shorten
from typing import Any

from hubbleclip.captions.backends import writer_of
from hubbleclip.catalog.catalog import Catalog, read_catalog
from hubbleclip.catalog.pending import count_pending
from hubbleclip.config.settings import CaptionSettings, Settings
from hubbleclip.core.layout import Layout
from hubbleclip.core.reasons import count_of, reason_words
from hubbleclip.training.runs import find_run, settings_digest

NEWEST_DATASET = "SELECT digest, path, inputs_digest FROM dataset ORDER BY built_at DESC, digest LIMIT 1"
NUM_LARGEST = 10
"""Maximum number of proposals that are shown with their share of the samples, largest first."""
SUPERSEDED_FILES = """
SELECT count(*) AS num_files, coalesce(sum(size_bytes), 0)::BIGINT AS size_bytes
FROM (SELECT any_value(size_bytes) AS size_bytes FROM product WHERE path IS NOT NULL
      GROUP BY path HAVING bool_and(superseded_at IS NOT NULL))
"""
"""Query for the number and total size of the files on disk that belong only to superseded products."""
NEWEST_REPORT = """
SELECT report.path, report.run_id, run.path AS run_path FROM report JOIN run USING (run_id) ORDER BY made_at DESC
LIMIT 1
"""
REJECTIONS = """
SELECT stage, reason, count(*) AS num, min(detail) AS example FROM rejection
GROUP BY stage, reason ORDER BY stage, reason
"""
EXCLUDED = "SELECT reason, num_tiles AS num FROM split_count WHERE reason IS NOT NULL ORDER BY reason"
MAX_EXAMPLE = 120
"""Maximum length, in characters, of the example that is shown for each reason of rejection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Status of a profile, as written by `status --json`; the path of a file that does not exist yet is None."""

    profile: str
    catalog: str | None = None
    dataset: str | None = None
    run: str | None = None
    report: str | None = None
    counts: dict[str, Any] = field(
        default_factory=lambda: {
            "rejected": [],
            "excluded": [],
            "largest_proposals": [],
            "superseded": {"num_files": 0, "size_bytes": 0},
        }
    )
    pending: dict[str, int] = field(default_factory=dict)
    captions: dict[str, Any] = field(default_factory=dict)
    waiting: dict[str, Any] = field(default_factory=lambda: {"num": 0, "next_try_at": None})


def read_status(settings: Settings) -> Status:
    """Read the status of a profile."""
    layout = Layout(settings.root)
    if not layout.catalog.exists():
        return Status(profile=settings.profile)
    with read_catalog(layout) as catalog:
        tiles = catalog.named_query("tile_counts", tile_settings=settings.tiles.digest())
        numbers = settings.splits.model_dump()
        captions = read_caption_status(catalog, settings.captions, writer_of(settings.captions))
        return Status(
            profile=settings.profile,
            catalog=str(layout.catalog),
            dataset=newest(catalog, layout, NEWEST_DATASET, "path"),
            run=newest(catalog, layout, NEWEST_REPORT, "run_path"),
            report=newest(catalog, layout, NEWEST_REPORT, "path", "index.html"),
            counts=catalog.counts()
            | {"rejected": [row | {"words": reason_words(row["reason"])} for row in catalog.rows(REJECTIONS)]}
            | {"excluded": [row | {"words": reason_words(row["reason"], numbers)} for row in catalog.rows(EXCLUDED)]}
            | {"largest_proposals": largest_proposals(tiles), "superseded": catalog.rows(SUPERSEDED_FILES)[0]},
            pending=pending(catalog, layout, settings, tiles, captions.get("num_pending", 0)),
            captions=captions,
            waiting=catalog.named_query("waiting", now=datetime.now(UTC))[0],
        )


def status_lines(found: Status) -> Iterator[str]:
    """Format the status as lines of text."""
    for name in ("catalog", "dataset", "run", "report"):
        yield f"{name:8} {getattr(found, name) or 'none yet'}"
    yield "rows     " + ", ".join(f"{n} {name}" for name, n in found.counts.items() if isinstance(n, int) and n)
    for row in found.counts["rejected"]:
        example = shorten(row["example"], MAX_EXAMPLE, placeholder=" ...")
        yield f"rejected {row['num']} in {row['stage']}: {row['words']} (such as: {example})"
    for row in found.counts["excluded"]:
        yield f"excluded {count_of(row['num'], 'tile')}: {row['words']}"
    if largest := found.counts["largest_proposals"]:
        total = sum(row["share"] for row in largest)
        yield (
            f"largest  {largest[0]['proposal_id']} has {largest[0]['share']:.1%} of the samples,"
            f" the {len(largest)} largest proposals {total:.1%}"
        )
    superseded = found.counts["superseded"]
    if superseded["num_files"]:
        size_gb = superseded["size_bytes"] / 1e9
        yield f"disk     {superseded['num_files']} files ({size_gb:.2f} GB) of products that are no longer selected"
    if found.captions:
        yield f"captions {caption_line(found.captions)}"
    yield "pending  " + (", ".join(f"{n} {name}" for name, n in found.pending.items() if n) or "nothing")
    if found.waiting["num"]:
        first = f"{found.waiting['next_try_at']:%Y-%m-%d %H:%M}"
        yield f"waiting  {found.waiting['num']} failed items, the first is retried after {first} UTC"


def newest(catalog: Catalog, layout: Layout, sql: str, column: str, name: str = "") -> str | None:
    """Return the first existing folder in the result of a query, joined with `name`; None if no folder exists."""
    folders = [layout.absolute(row[column]) for row in catalog.rows(sql)]
    return next((str(folder / name) for folder in folders if folder.exists()), None)


def largest_proposals(tiles: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the proposals with the most samples in the newest dataset, with the number and share of their samples."""
    total = sum(row["num_samples"] for row in tiles)
    return [
        {"proposal_id": row["proposal_id"], "num_samples": row["num_samples"], "share": row["num_samples"] / total}
        for row in tiles[:NUM_LARGEST]
        if row["num_samples"]
    ]


def pending(
    catalog: Catalog, layout: Layout, settings: Settings, tiles: Sequence[Mapping[str, Any]], num_captions: int
) -> dict[str, int]:
    """Count the items that are pending in each stage."""
    left = count_pending(catalog, settings) | {
        "captions": num_captions,
        "split": sum(row["num_to_split"] for row in tiles),
        "shards": sum(row["num_to_shard"] for row in tiles),
    }
    wanted = settings_digest(settings.model, settings.train)
    trained = [find_run(layout.runs, row["digest"], wanted) for row in catalog.rows(NEWEST_DATASET)]
    reported = [row["run_id"] for row in catalog.rows(NEWEST_REPORT)]
    num_reported = sum(run is not None and run.name in reported for run in trained)
    return left | {"train": trained.count(None), "evaluate": len(trained) - num_reported}


def read_caption_status(catalog: Catalog, settings: CaptionSettings, writer: str) -> dict[str, Any]:
    """Count finished, failed and pending abstracts, phrases, requests and tokens of the caption backend `writer`."""
    if not writer:
        return {}
    return catalog.named_query(
        "caption_status", writer=writer, settings_digest=settings.digest(), now=datetime.now(UTC)
    )[0]


def caption_line(found: Mapping[str, Any]) -> str:
    """Format the result of `read_caption_status` as one line."""
    return (
        "{writer} wrote about {num_written} of {num_abstracts} abstracts, {num_failed} failed ({failed_share:.1%}),"
        " {num_ungrounded} of {num_named} phrases ungrounded ({ungrounded_share:.1%}), {num_calls} requests"
    ).format(**found)
