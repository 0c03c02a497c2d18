"""`python -m experiments.pairs`: measure how well trained methods match captions to pictures.

Each method is trained on some pictures with captions and tested on other pictures.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import App, Parameter

from experiments.pairs import report
from experiments.pairs.alignment import fit_alignment
from experiments.pairs.frozen_features import Pairs, picture_features, read_rgb, sentence_features, text_features
from experiments.pairs.press import (
    UNINFORMATIVE,
    Folder,
    group_of_pictures,
    links_between,
    press_picture,
    read_press,
    uninformative_pictures,
)
from experiments.pairs.saved import MATCHER, SavedMatcher, find_pictures, read_matcher, save_matcher
from experiments.running import run
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.pending import to_records
from hubbleclip.cli.options import Options
from hubbleclip.cli.output import print_rows
from hubbleclip.cli.running import redirect_caches
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product, Proposal
from hubbleclip.core.version import code_version
from hubbleclip.dataset.captions import abstract, split_sentences
from hubbleclip.pipeline.ingest.run import ingest
from hubbleclip.training.models.builder import LoadedModel, load_model

log = logging.getLogger("hubbleclip.pairs")
app = App()
CAPTIONS = "captions.jsonl"
NUM_ASKED = 8
"""Number of pictures that are shown for a text."""


@dataclass(frozen=True, kw_only=True)
class PairOptions(Options):
    """Options of every command, with the profile beside this file as the default."""

    profile: Annotated[str, Parameter(help="Path of a TOML file of settings.", env_var=())] = str(
        Path(__file__).with_name("pairs.toml")
    )


@app.default
def main(
    train: Annotated[Path, Parameter(help="Folder of JPEG pictures with captions.jsonl.")],
    options: PairOptions = PairOptions(),
    *,
    test: Annotated[Path | None, Parameter(help="Another such folder to test on.")] = None,
    drop_related: Annotated[
        bool, Parameter(negative=(), help="With --test: train without pictures that are related to test pictures.")
    ] = False,
    folds: Annotated[int, Parameter(help="Number of folds of the cross-validation.")] = 5,
    draws: Annotated[int, Parameter(help="Number of times that the folds are drawn.")] = 3,
    ask: Annotated[str, Parameter(help="Show the pictures that match a text, by the matcher trained before.")] = "",
) -> None:
    """Train on a folder of JPEG pictures with captions; test on another such folder, or by cross-validation."""
    settings = options.settings()
    redirect_caches(Layout(settings.root))
    if ask:
        print_rows(find(settings, train, ask))
    else:
        print_rows(pairs(options, train, test, drop_related=drop_related, num_folds=folds, num_draws=draws))


def read_pairs(folder: Folder, settings: Settings) -> Pairs:
    """Compute the features of all pictures and captions by the frozen towers."""
    loaded = load_model(settings.model, settings.train.seed)
    names = sorted(folder.files)
    captions = [folder.proposals[name].abstract or "" for name in names]
    titles = [folder.proposals[name].title for name in names]
    sentences = [tuple(split_sentences(caption) or [caption]) for caption in captions]
    group_of = group_of_pictures(folder, settings.splits)
    return Pairs(
        names=tuple(names),
        captions=tuple(captions),
        titles=tuple(titles),
        sentences=tuple(sentences),
        group_n=np.unique([group_of[name] for name in names], return_inverse=True)[1].astype(np.int64),
        final_width=_final_width(loaded),
        caption_ne=text_features(loaded, captions),
        title_ne=text_features(loaded, titles),
        sentences_pe=sentence_features(loaded, sentences),
        views_nvd=picture_features(
            loaded,
            (read_rgb(folder.files[name]) for name in names),
            is_bf16=settings.train.precision == "bf16",
        ),
    )


def _final_width(loaded: LoadedModel) -> int:
    """Return the number of columns of the image tower's final features."""
    width: int = loaded.model.visual.trunk.num_features
    return width


def compare(trials: Sequence[report.Trial], settings: Settings) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train all methods and score them on their test pictures."""
    base = load_model(settings.model, settings.train.seed)
    matchers = report.fit(trials, settings.train)
    rows = report.measure(trials, matchers, settings.evaluation)
    queries = text_features(base, report.QUERIES)
    return rows, {
        when: report.top_pictures(report.query_scores(trials, matchers[method], queries))
        for when, method in (("before", report.UNTRAINED), ("after", report.OURS))
    }


def pairs(
    options: Options, train: Path, test: Path | None, *, drop_related: bool, num_folds: int, num_draws: int
) -> list[dict[str, Any]]:
    """Train on the pictures of one folder and test on those of another, or cross-validate on one folder.

    With `drop_related`, related pictures are not trained on; otherwise they are an error. `num_draws` is the
    number of times that the folds are drawn, and the trained heads are initialised.
    """
    started_s = time.monotonic()
    report.check_repetitions(num_folds, num_draws)  # fail before anything is ingested or computed
    settings, draws = options.settings(), range(1, num_draws + 1)
    paths = [path for path in (train, test) if path]
    ingested = [without_uninformative(ingest_folder(options, path, settings), path) for path in paths]
    folders = [folder for folder, _ in ingested]
    rejected = {key: UNINFORMATIVE for _, found in ingested for key in found}
    dropped: list[str] = []
    if test:
        folders[0], dropped = without_related(folders[0], folders[1], settings, is_allowed=drop_related)
    report.check_size(len(set(group_of_pictures(folders[-1], settings.splits).values())), 1 if test else num_folds)
    features = [read_pairs(folder, settings) for folder in folders]
    train_pairs, test_pairs = features[0], features[-1]  # with a single folder both are the same
    log.info("pairs: features of %d pictures computed", sum(len(one.names) for one in features))
    trials = (
        report.holdout_trials(train_pairs, test_pairs, draws)
        if test
        else report.cross_validation_trials(train_pairs, num_folds, draws)
    )
    rows, tops = compare(trials, settings)
    files = folders[-1].files
    numbers = {int(row) for top_qk in tops.values() for row in top_qk.ravel()}
    pictures = {row: read_rgb(files[test_pairs.names[row]]) for row in numbers}
    facts = {
        "train": train.name,
        "test": test.name if test else f"{num_folds} folds",
        "num_draws": num_draws,
        "num_pictures": len(test_pairs.names),
        "num_groups": int(test_pairs.group_n.max()) + 1,
        "rejected": rejected,
        "dropped": dropped,
        "code_version": code_version(),
    }
    out_dir = Layout(settings.root).reports / f"pairs-{_key(*paths)}"
    write_bytes(out_dir / "pairs.json", report.results_json(rows, tops, test_pairs.names, facts))
    write_bytes(out_dir / "queries.png", report.render_top_pictures(tops["before"], tops["after"], pictures))
    alignment = fit_alignment(train_pairs)  # of all pictures of the folder, to be asked for pictures
    pictures_nk = alignment.embed_pictures(train_pairs.views_nvd)
    saved = SavedMatcher(alignment=alignment, names=train_pairs.names, pictures_nk=pictures_nk)
    save_matcher(matcher_path(settings, train), saved)
    log.info(
        "pairs: %d pictures of %d groups were scored in %.0f s: %s",
        len(test_pairs.names),
        facts["num_groups"],
        time.monotonic() - started_s,
        out_dir / "pairs.json",
    )
    return report.table_rows(rows)


def without_uninformative(folder: Folder, path: Path) -> tuple[Folder, list[str]]:
    """Reject the pictures whose caption says nothing about them."""
    rejected = uninformative_pictures(folder)
    if rejected:
        log.warning("pairs: %d pictures of %s are rejected: %s", len(rejected), path, UNINFORMATIVE)
    if len(rejected) == len(folder.files):
        raise DatasetError(f"{path} has only captions that many pictures share: add captions that describe a picture")
    return folder.take(set(folder.files) - rejected), sorted(rejected)


def without_related(train: Folder, test: Folder, settings: Settings, *, is_allowed: bool) -> tuple[Folder, list[str]]:
    """Remove from the training folder the pictures that are related to test pictures."""
    links = links_between(train, test, settings.splits)
    if not is_allowed:
        report.check_unrelated(links)
    related = {link.one for link in links}
    if len(related) == len(train.files):
        raise DatasetError("every training picture is related to a test picture: choose another folder to train on")
    if related:
        log.warning("pairs: %d training pictures are dropped, because they are related to test pictures", len(related))
    return train.take(set(train.files) - related), sorted(related)


def matcher_path(settings: Settings, folder: Path) -> Path:
    """Return the path of the matcher that was trained on a folder."""
    return Layout(settings.root).reports / f"pairs-{_key(folder)}" / MATCHER


def find(settings: Settings, folder: Path, text: str) -> list[dict[str, Any]]:
    """Find the pictures of a folder that match a text best, by the matcher that was trained on the folder."""
    saved = read_matcher(matcher_path(settings, folder))
    (names,) = find_pictures(saved, load_model(settings.model, settings.train.seed), [text], NUM_ASKED)
    return [{"rank": rank, "picture": name} for rank, name in enumerate(names, 1)]


def ingest_folder(options: Options, folder: Path, settings: Settings) -> Folder:
    """Ingest a folder of pictures with the local archive client, into a catalog of its own."""
    data = settings.root.absolute() / _key(folder)
    folder_settings = replace(options, local=folder, proposals=folder / CAPTIONS, data=data).settings()
    ingest(folder_settings)
    layout = Layout(folder_settings.root)
    with read_catalog(layout) as catalog:
        products = to_records(Product, catalog.rows("FROM product WHERE path IS NOT NULL"))
        all_proposals = {one.proposal_id: one for one in to_records(Proposal, catalog.rows("FROM proposal"))}
    id_of = {key: one.number for key, one in all_proposals.items() if abstract(one)}
    files = {id_of[one.proposal_id]: layout.absolute(one.path) for one in products if one.proposal_id in id_of}
    if not files:
        raise DatasetError(f"{folder} has no JPEG picture whose name is an id in {CAPTIONS}")
    proposals = {id_of[key]: replace(all_proposals[key], proposal_id=id_of[key]) for key in id_of}
    facts = read_press(folder / CAPTIONS)
    press = {key: facts.get(key) or press_picture({"id": key}) for key in files}
    return Folder(files=files, proposals=proposals, press=press).take(set(files))


def _key(*folders: Path) -> str:
    """Return the names of folders and a digest of their paths, joined by dashes."""
    digest = hashlib.sha256("\n".join(str(folder.absolute()) for folder in folders).encode()).hexdigest()[:8]
    return "-".join([*(folder.name for folder in folders), digest])


if __name__ == "__main__":
    run(app)
