"""`hubbleclip pairs`: measure how well trained methods match captions to pictures.

Each method is trained on some pictures with captions and tested on other pictures.
"""

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
from hubbleclip.catalog.pending import to_records
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
    """Compute the features of all pictures and captions by the frozen towers.

    Parameters
    ----------
    files
        Paths of the pictures, by proposal id.
    proposals
        Proposals by proposal id; the abstract is the caption.
    settings
        Settings of the profile; model, seed, precision and the rules for near-duplicate captions are used.

    Returns
    -------
    Pairs
        The features, in the order of the proposal ids.

    """
    loaded = load_model(settings.model, settings.train.seed)
    captioned = [proposals[key] for key in sorted(files)]
    captions = [proposal.abstract or proposal.title for proposal in captioned]
    titles = [proposal.title for proposal in captioned]
    sentences = [tuple(split_sentences(caption) or [caption]) for caption in captions]
    return Pairs(
        names=tuple(sorted(files)), captions=tuple(captions), titles=tuple(titles), sentences=tuple(sentences),
        group_n=group_numbers(files, proposals, settings), final_width=_final_width(loaded),
        caption_ne=text_features(loaded, captions), title_ne=text_features(loaded, titles),
        sentences_pe=sentence_features(loaded, sentences),
        views_nvd=picture_features(
            loaded, (read_rgb(files[key], settings.tiles.max_pixels) for key in sorted(files)),
            is_bf16=settings.train.precision == "bf16",
        ),
    )  # fmt: skip


def group_numbers(files: Mapping[str, Path], proposals: Mapping[str, Proposal], settings: Settings) -> Ints:
    """Assign a number to each group of pictures with near-duplicate captions.

    Parameters
    ----------
    files
        Paths of the pictures, by proposal id.
    proposals
        Proposals by proposal id.
    settings
        Settings of the profile; the rules for near-duplicate captions are used.

    Returns
    -------
    Ints
        Group number of each picture, shape (n,), in the order of the proposal ids.

    """
    group_of = group_proposals(proposals, text_links(proposals, settings.splits))
    _, group_n = np.unique([group_of[proposals[key].proposal_id] for key in sorted(files)], return_inverse=True)
    return group_n.astype(np.int64)


def hashes_and_captions(files: Mapping[str, Path], proposals: Mapping[str, Proposal]) -> tuple[set[str], set[str]]:
    """Return the hashes and captions of the pictures of a folder, to compare the content of two folders.

    Parameters
    ----------
    files
        Paths of the pictures, by proposal id.
    proposals
        Proposals by proposal id.

    Returns
    -------
    tuple[set[str], set[str]]
        SHA-256 of each picture file in hexadecimal digits, and the captions.

    """
    return {sha256_file(path) for path in files.values()}, {str(proposals[key].abstract) for key in files}


def _final_width(loaded: LoadedModel) -> int:
    """Return the number of columns of the image tower's final features."""
    width: int = loaded.model.visual.trunk.num_features
    return width


def compare(trials: Sequence[report.Trial], settings: Settings) -> tuple[list[report.Row], dict[str, Any]]:
    """Train all methods and score them on their test pictures.

    Parameters
    ----------
    trials
        The trials, each with its training and test pictures.
    settings
        Settings of the profile; the sections for model, training and evaluation are used.

    Returns
    -------
    tuple[list[report.Row], dict[str, Any]]
        Rows of the table of results, and the best pictures of each query, by `before` and `after` training.

    """
    base = load_model(settings.model, settings.train.seed)
    matchers = report.fit(trials, settings.train)
    rows = report.measure(trials, matchers, settings.evaluation)
    queries = text_features(base, report.QUERIES)
    return rows, {
        when: report.top_pictures(report.query_scores(trials, matchers[method], queries))
        for when, method in (("before", report.UNTRAINED), ("after", report.OURS))
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
    """Train on the pictures of one folder and test on those of another, or cross-validate on one folder.

    Args:
        profile: The profile `pairs`, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 100}}.
        train: A folder of JPEG pictures with `captions.jsonl`.
        test: Another such folder to test on; without it, the folder `train` is cross-validated.
        num_folds: Number of folds of the cross-validation.
        num_seeds: Number of repetitions, each with different folds and a different seed.

    """
    started_s = time.monotonic()
    report.check_repetitions(num_folds, num_seeds)  # fail before anything is ingested or computed
    settings, seeds = read_settings(profile, overrides), range(1, num_seeds + 1)
    folders = [folder for folder in (train, test) if folder]
    ingested = [ingest_folder(profile, overrides, folder, settings) for folder in folders]
    if test:
        report.check_disjoint(*(hashes_and_captions(*one) for one in ingested))
    report.check_size(len(set(group_numbers(*ingested[-1], settings))), 1 if test else num_folds)
    features = [task_read_pairs(*one, settings) for one in ingested]
    train_pairs, test_pairs = features[0], features[-1]  # with a single folder both are the same
    log.info("pairs: features of %d pictures computed", sum(len(one.names) for one in features))
    trials = (
        report.holdout_trials(train_pairs, test_pairs, seeds)
        if test
        else report.cross_validation_trials(train_pairs, num_folds, seeds)
    )
    rows, tops = task_compare(trials, settings)
    files, _ = ingested[-1]
    numbers = {int(row) for top_qk in tops.values() for row in top_qk.ravel()}
    pictures = {row: read_rgb(files[test_pairs.names[row]], settings.tiles.max_pixels) for row in numbers}
    facts = {
        "train": train.name, "test": test.name if test else f"{num_folds} folds", "num_seeds": num_seeds,
        "num_pictures": len(test_pairs.names), "num_groups": int(test_pairs.group_n.max()) + 1,
        "code_version": code_version(),
    }  # fmt: skip
    out_dir = Layout(settings.root).reports / f"pairs-{_key(*folders)}"
    write_bytes(out_dir / "pairs.json", report.results_json(rows, tops, test_pairs.names, facts))
    write_bytes(out_dir / "queries.png", report.render_top_pictures(tops["before"], tops["after"], pictures))
    num_pictures = len(test_pairs.names)
    log.info(
        "pairs: %d pictures were scored in %.0f s: %s",
        num_pictures,
        time.monotonic() - started_s,
        out_dir / "pairs.json",
    )
    return report.table_rows(rows)


def ingest_folder(
    profile: str, overrides: dict[str, Any], folder: Path, settings: Settings
) -> tuple[dict[str, Path], dict[str, Proposal]]:
    """Ingest a folder of pictures with the local archive client, into a catalog of its own.

    Parameters
    ----------
    profile
        Name of the profile.
    overrides
        Settings to change, section by section.
    folder
        Folder of JPEG pictures with `captions.jsonl`.
    settings
        Settings of the profile; the data root is used, below which the catalog is written.

    Returns
    -------
    tuple[dict[str, Path], dict[str, Proposal]]
        Paths of the pictures, and the proposals that have a caption, both by proposal id.

    Raises
    ------
    DatasetError
        When no picture has a caption.

    """
    folder_overrides = changed(overrides, {
        "archive.folder": str(folder.absolute()), "archive.proposals_file": str(folder.absolute() / CAPTIONS),
    }) | {"data": str(settings.root.absolute() / _key(folder))}  # fmt: skip
    folder_settings = read_settings(profile, folder_overrides)
    ingest(folder_settings, PREFECT)
    layout = Layout(folder_settings.root)
    with read_catalog(layout) as catalog:
        products = to_records(Product, catalog.rows("FROM product WHERE path IS NOT NULL"))
        all_proposals = {one.proposal_id: one for one in to_records(Proposal, catalog.rows("FROM proposal"))}
    proposals = {key: one for key, one in all_proposals.items() if one.abstract}
    files = {one.proposal_id: layout.absolute(one.path) for one in products if one.proposal_id in proposals}
    if not files:
        raise DatasetError(f"{folder} has no JPEG picture whose name is an id in {CAPTIONS}")
    return files, proposals


def _key(*folders: Path) -> str:
    """Return the names of folders and a digest of their paths, joined by dashes."""
    digest = hashlib.sha256("\n".join(str(folder.absolute()) for folder in folders).encode()).hexdigest()[:8]
    return "-".join([*(folder.name for folder in folders), digest])
