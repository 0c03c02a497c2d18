"""Export a run's model, with a model card, to a folder that other programs can load."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import check_new, write_text
from hubbleclip.core.version import code_version
from hubbleclip.dataset.card import LICENCE_FILE
from hubbleclip.dataset.manifest import read_description
from hubbleclip.evaluation.report.model_card import CardFacts, model_card
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.promotion import find_run
from hubbleclip.pipeline.remote_store import pull_runs
from hubbleclip.training.checkpoints import load_run_model
from hubbleclip.training.export.onnx_towers import write_onnx
from hubbleclip.training.export.open_clip_folder import CARD, is_longer_than_open_clip, merged, write_open_clip
from hubbleclip.training.export.transformers_clip import has_clip_layers, write_transformers
from hubbleclip.training.models.builder import LoadedModel
from hubbleclip.training.runs import read_run

log = logging.getLogger("hubbleclip.pipeline")


def export(run: str, out_dir: Path, settings: Settings, *, transformers: bool = True, onnx: bool = True) -> Path:
    """Export a run's model, with a model card, to the new folder `out_dir`, and return this folder."""
    check_new(out_dir)
    layout = layout_of(settings)
    pull_runs(layout)
    run_dir = find_run(layout, run)
    pull_runs(layout, run_dir)
    building = out_dir.with_name(f".{out_dir.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        loaded = merged(load_run_model(run_dir))
        formats = write_formats(loaded, building, transformers=transformers, onnx=onnx)
        facts = CardFacts(
            run=read_run(run_dir).run,
            code_version=code_version(),
            image_size=loaded.image_size,
            context_length=loaded.context_length,
            formats=formats,
            report=find_report(run_dir),
            description=find_description(run_dir),
        )
        card = model_card(facts)
        write_text(building / CARD, card)
        write_text(building / LICENCE_FILE, card[card.index("## Licence") + 1 :])
        # safetensors writes files that only their owner can read, but other users must be able to read an export
        for path in filter(Path.is_file, building.rglob("*")):
            path.chmod((building / CARD).stat().st_mode)
        shutil.rmtree(out_dir, ignore_errors=True)
        building.rename(out_dir)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    log.info("export: %s has %s", out_dir, ", ".join(formats))
    return out_dir


def write_formats(loaded: LoadedModel, folder: Path, *, transformers: bool, onnx: bool) -> list[str]:
    """Write a model for open_clip and in the chosen formats; return the formats that work without this package."""
    write_open_clip(loaded, folder)
    formats = [] if is_longer_than_open_clip(loaded) else ["open_clip"]
    if transformers and has_clip_layers(loaded):
        write_transformers(loaded, folder)
        formats.append("transformers")
    elif transformers:
        log.info("export: no CLIPModel, because the architecture is not one of OpenAI's")
    if onnx:
        write_onnx(loaded, folder)
        formats.append("onnx")
    return formats


def find_report(run_dir: Path) -> dict[str, Any] | None:
    """Read the metrics of the newest report on a run; None if there is no report."""
    found = list((run_dir.parent.parent / "reports").glob(f"{run_dir.name}-????????/metrics.json"))
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    return json.loads(newest.read_text(encoding="utf-8")) if newest else None


def find_description(run_dir: Path) -> dict[str, Any] | None:
    """Read the description of the dataset on which a run was trained; None if it cannot be read."""
    try:
        return read_description(run_dir.parent.parent / "datasets" / read_run(run_dir).run.dataset_digest)
    except DatasetError:
        return None
