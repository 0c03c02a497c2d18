"""`hubbleclip pairs`: how well captions and pictures of a folder are matched by what is learnt from others of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from prefect import Task, flow

from experiments.pairs import report
from experiments.pairs.frozen_features import Ints, Pairs, picture_features, sentence_features, text_features
from flows.tasks import PREFECT
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.pending import from_rows
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import sha256_file, write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product, Proposal
from hubbleclip.core.version import code_version
from hubbleclip.dataset.captions import split_sentences
from hubbleclip.dataset.splits.near_duplicates import group_proposals, text_links
from hubbleclip.images.preview import read_rgb
from hubbleclip.pipeline.engine.stage import log
from hubbleclip.pipeline.ingest.run import ingest
from hubbleclip.pipeline.sweep import changed
from hubbleclip.training.models.builder import LoadedModel, load_model

CAPTIONS = "captions.jsonl"


def read_pairs(files: Mapping[str, Path], proposals: Mapping[str, Proposal], settings: Settings) -> Pairs:
    """Features of all pictures that have a caption, by the frozen towers."""
    loaded = load_model(settings.model, settings.train.seed)
    chosen = [proposals[key] for key in sorted(files)]
    captions, titles = [one.abstract or one.title for one in chosen], [one.title for one in chosen]
    sentences = [tuple(split_sentences(caption) or [caption]) for caption in captions]
    return Pairs(
        names=tuple(sorted(files)), captions=tuple(captions), titles=tuple(titles), sentences=tuple(sentences),
        group_n=group_numbers(files, proposals, settings), final_width=_final_width(loaded),
        caption_ne=text_features(loaded, captions), title_ne=text_features(loaded, titles),
        pieces=sentence_features(loaded, sentences),
        views_nvd=picture_features(
            loaded, (read_rgb(files[key], settings.tiles.max_pixels) for key in sorted(files)),
            is_bf16=settings.train.precision == "bf16",
        ),
    )  # fmt: skip


def group_numbers(files: Mapping[str, Path], proposals: Mapping[str, Proposal], settings: Settings) -> Ints:
    """The number (n,) of each picture's caption group."""
    group_of = group_proposals(proposals, text_links(proposals, settings.splits))
    _, group_n = np.unique([group_of[proposals[key].proposal_id] for key in sorted(files)], return_inverse=True)
    return group_n.astype(np.int64)


def contents(files: Mapping[str, Path], proposals: Mapping[str, Proposal]) -> tuple[set[str], set[str]]:
    """Hashes of the pictures, and their captions."""
    return {sha256_file(path) for path in files.values()}, {str(proposals[key].abstract) for key in files}


def _final_width(loaded: LoadedModel) -> int:
    width: int = loaded.model.visual.trunk.num_features
    return width


def compare(trials: Sequence[report.Trial], settings: Settings) -> tuple[list[report.Row], dict[str, Any]]:
    """Rows of the table, and the best pictures of each query before and after."""
    base = load_model(settings.model, settings.train.seed)
    learnt = report.learn(trials, settings.train)
    rows = report.measure(trials, learnt, settings.evaluation)
    queries = text_features(base, report.QUERIES)
    return rows, {
        when: report.top_pictures(report.query_scores(trials, learnt[way], queries))
        for when, way in (("before", report.BEFORE), ("after", report.OURS))
    }


task_read_pairs = Task(read_pairs, name="read-pairs", persist_result=False)
task_compare = Task(compare, name="compare-pairs", persist_result=False)


@flow(name="pairs")
def pairs(
    profile: str,
    overrides: dict[str, Any],
    train: Path,
    test: Path | None = None,
    *,
    num_folds: int = 5,
    num_seeds: int = 3,
) -> list[report.Row]:
    """Learn from the pictures of one folder and test on those of another, or on parts of the same in turn.

    Args:
        profile: pairs, or the path of a TOML file of settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 100}}.
        train: A folder of JPEG pictures with `captions.jsonl`.
        test: Another such folder; without one, folds of the first take turns.
        num_folds: How many folds.
        num_seeds: How many repetitions, each with folds and trainings of its own.

    """
    started_s = time.monotonic()
    report.check_repetitions(num_folds, num_seeds)
    settings, seeds = read_settings(profile, overrides), range(1, num_seeds + 1)
    folders = [folder for folder in (train, test) if folder]
    found = [ingested(profile, overrides, folder, settings) for folder in folders]
    if test:
        report.check_apart(*(contents(*one) for one in found))
    report.check_size(len(set(group_numbers(*found[-1], settings))), 1 if test else num_folds)
    features = [task_read_pairs(*one, settings) for one in found]
    learnt_from, tested_on = features[0], features[-1]
    log.info("pairs: the towers have seen %d pictures", sum(len(one.names) for one in features))
    trials = (
        report.apart_trials(learnt_from, tested_on, seeds)
        if test
        else report.cross_trials(learnt_from, num_folds, seeds)
    )
    rows, tops = task_compare(trials, settings)
    shown, (files, _) = tested_on, found[-1]
    numbers = {int(row) for top_qk in tops.values() for row in top_qk.ravel()}
    pictures = {row: read_rgb(files[shown.names[row]], settings.tiles.max_pixels) for row in numbers}
    facts = {
        "train": train.name, "test": test.name if test else f"{num_folds} folds", "num_seeds": num_seeds,
        "num_pictures": len(shown.names), "num_groups": int(shown.group_n.max()) + 1, "code_version": code_version(),
    }  # fmt: skip
    out_dir = Layout(settings.root).reports / f"pairs-{_key(*folders)}"
    write_bytes(out_dir / "pairs.json", report.results_json(rows, tops, shown.names, facts))
    write_bytes(out_dir / "queries.png", report.render_tops(tops["before"], tops["after"], pictures))
    log.info("pairs: %d pictures in %.0f s: %s", len(shown.names), time.monotonic() - started_s, out_dir / "pairs.json")
    return report.table_rows(rows)


def ingested(
    profile: str, overrides: dict[str, Any], folder: Path, settings: Settings
) -> tuple[dict[str, Path], dict[str, Proposal]]:
    """Files and proposals of a folder through the local archive, in a catalog of the folder's own, by proposal.

    Raises DatasetError when no picture has a caption.
    """
    here = changed(overrides, {
        "archive.folder": str(folder.absolute()), "archive.proposals_file": str(folder.absolute() / CAPTIONS),
    }) | {"data": str(settings.root.absolute() / _key(folder))}  # fmt: skip
    settings_here = read_settings(profile, here)
    ingest(settings_here, PREFECT)
    layout = Layout(settings_here.root)
    with read_catalog(layout) as catalog:
        products = from_rows(Product, catalog.rows("FROM product WHERE path IS NOT NULL"))
        found = {one.proposal_id: one for one in from_rows(Proposal, catalog.rows("FROM proposal"))}
    proposals = {key: one for key, one in found.items() if one.abstract}
    files = {one.proposal_id: layout.absolute(one.path) for one in products if one.proposal_id in proposals}
    if not files:
        raise DatasetError(f"{folder} has no JPEG picture whose name is an id in {CAPTIONS}")
    return files, proposals


def _key(*folders: Path) -> str:
    """Names of folders and a digest of where they are."""
    digest = hashlib.sha256("\n".join(str(folder.absolute()) for folder in folders).encode()).hexdigest()[:8]
    return "-".join([*(folder.name for folder in folders), digest])
