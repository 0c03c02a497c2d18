"""Model card: a Markdown text about an exported model, with front matter for the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubbleclip.core.records import Run
from hubbleclip.dataset.card import LICENCE_FILE, SIMULATED, notice_lines, with_front_matter
from hubbleclip.evaluation.forgetting import DIGITS, FORGETTING, PHOTOGRAPHS
from hubbleclip.evaluation.metrics.protocols import FAIR
from hubbleclip.evaluation.names import SCORERS

TEXT = Path(__file__).with_name("model_card.md")  # a template for `str.format`
COLUMNS = {
    "i2t_accuracy_at_10pct": "image to text, top 10 %",
    "i2t_accuracy_at_10pct_by_proposal": "the same, mean over proposals",
    "t2i_accuracy_at_10pct": "text to image, top 10 %",
    "i2t_recall_at_1": "image to text, R@1",
    "i2t_median_rank": "median rank",
}
NOT_EVALUATED = "This run was not evaluated: run `hubbleclip evaluate`, then export it again.\n"
FORGOTTEN = {PHOTOGRAPHS: "photographs of things on Earth", DIGITS: "handwritten digits of 8 x 8 pixels"}
"""How the model card describes the test images of each metric that measures forgetting."""
NO_OPEN_CLIP = "open_clip cannot load this folder, because it does not support the text tower's long context."
OTHERS = {
    "open_clip": """```python
import sys

import open_clip, torch
from PIL import Image

sys.path.insert(0, "DIR")
from preprocess import preprocess

model, _, _ = open_clip.create_model_and_transforms("local-dir:DIR")
tokenizer = open_clip.get_tokenizer("local-dir:DIR")
with torch.no_grad():
    image = model.eval().encode_image(torch.from_numpy(preprocess(Image.open("tile.png")))[None], normalize=True)
    text = model.encode_text(tokenizer(["a spiral galaxy"]), normalize=True)
similarity = image @ text.T
```""",
    "transformers": """With transformers 4.57 or 5. The options `use_fast=False, resample=4` resize with a box filter.
The default processor, which `pipeline` uses, is bicubic: on 512 px tiles, the cosine between its features
and the features of the code below fell to 0.917:

```python
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

processor = AutoImageProcessor.from_pretrained("DIR", use_fast=False, resample=4)
pixels = processor(Image.open("tile.png"), return_tensors="pt")["pixel_values"]
words = AutoTokenizer.from_pretrained("DIR")(
    ["a spiral galaxy"], padding="max_length", truncation=True, return_tensors="pt"
)["input_ids"]
with torch.no_grad():
    found = CLIPModel.from_pretrained("DIR").eval()(pixel_values=pixels, input_ids=words)
similarity = found.image_embeds @ found.text_embeds.T
```""",
    "onnx": """In any ONNX runtime; features have length 1:

```python
import sys

import open_clip
from onnxruntime import InferenceSession
from PIL import Image

sys.path.insert(0, "DIR")
from preprocess import preprocess

tokenizer = open_clip.get_tokenizer("local-dir:DIR")
pixels = preprocess(Image.open("tile.png"))[None]
(image_features,) = InferenceSession("DIR/image_tower.onnx").run(None, {"pixel_values": pixels})
(text_features,) = InferenceSession("DIR/text_tower.onnx").run(
    None, {"input_ids": tokenizer(["a spiral galaxy"]).numpy()}
)
similarity = image_features @ text_features.T
```""",
}
"""Markdown instructions on how to use the model, for each exported format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """Input of `model_card`: the record of the run, and facts that are not in this record.

    `report` is the content of a report's `metrics.json`, and `description` is the content of the training dataset's
    `dataset.json`; each is None if the file does not exist. `formats` are keys of `OTHERS`.
    """

    run: Run
    code_version: str
    image_size: int
    context_length: int
    formats: Sequence[str]
    report: Mapping[str, Any] | None
    description: Mapping[str, Any] | None


def model_card(facts: CardFacts) -> str:
    """Write the card of an exported model."""
    run, description = facts.run, facts.description or {"notices": {}, "counts": {}}
    names = ", ".join(f"`{name}`" for name in dict.fromkeys((run.model, run.pretrained)))
    base = f"The weights derive from {names}, and are subject to its licence."
    train = json.loads(run.settings)["train"]
    counts = ", ".join(f"{of_split['samples']:,} tiles in {split}" for split, of_split in description["counts"].items())
    notices = description["notices"]
    text = TEXT.read_text(encoding="utf-8").format(
        name=f"hubbleclip {run.run_id}",
        simulated=f"{SIMULATED}\n" if "simulated" in notices else "",
        start=f"started from {names}" if run.pretrained else f"`{run.model}`, trained from scratch",
        code_version=facts.code_version,
        run_id=run.run_id,
        best_step=run.best_step,
        samples_seen=run.best_step * train["batch_size"],
        loss=run.loss,
        mode=train["mode"],
        size=facts.image_size,
        context_length=facts.context_length,
        open_clip=OTHERS["open_clip"] if "open_clip" in facts.formats else NO_OPEN_CLIP,
        others="".join(f"{OTHERS[name]}\n\n" for name in facts.formats if name != "open_clip"),
        dataset_digest=run.dataset_digest,
        counts=counts or "its folder was not found when this card was written",
        results=results(facts.report) if facts.report else NOT_EVALUATED,
        weights_licence=base if run.pretrained else "The weights were trained from scratch.",
        notices=notice_lines(notices)
        or "- unknown: the folder of the dataset was not found when this card was written",
    )
    head = {
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "license": "other",
        "license_name": "base-weights-and-data",
        "license_link": LICENCE_FILE,
        "language": ["en"],
        "tags": ["clip", "astronomy", "hubble"],
    }
    return with_front_matter(head, text)


def results(report: Mapping[str, Any]) -> str:
    """Write the metrics of a report, with intervals and baselines."""
    cells = {(one["protocol"], one["model"], one["name"]): cell(one) for one in report["metrics"]}
    forgotten = [
        f"{what}: {cells[FORGETTING, 'fine_tuned', metric]}; the base model reaches {cells[FORGETTING, 'base', metric]}"
        for metric, what in FORGOTTEN.items()
        if (FORGETTING, "base", metric) in cells
    ]
    said = (
        f"Forgetting, by zero-shot accuracy on images of other domains: {'. '.join(forgotten)}."
        if forgotten
        else "Forgetting was not measured: a model that was trained from scratch has nothing to forget; other models"
        " need the extra `hubbleclip[forgetting]`."
    )
    return (
        f"On the test split of dataset `{report['dataset_digest']}`: {report['num_tiles']:,} tiles and"
        f" {report['num_captions']:,} captions of {report['num_groups']:,} groups of proposals, with 95 % intervals"
        f" over the groups.\n\n{score_table(report['metrics'])}\n\n{said}\n"
    )


def score_table(metrics: Iterable[Mapping[str, Any]]) -> str:
    """Write the main metrics and their intervals as a Markdown table with one row per scorer."""
    cells = {(one["model"], one["name"]): cell(one) for one in metrics if one["protocol"] == FAIR}
    lines = [f"| | {' | '.join(COLUMNS.values())} |", f"|---|{'---|' * len(COLUMNS)}"]
    for scorer, (name, _) in SCORERS.items():
        row = [cells.get((scorer, column), "") for column in COLUMNS]
        lines += [f"| {name} | {' | '.join(row)} |"] if any(row) else []
    return "\n".join(lines)


def cell(metric: Mapping[str, Any]) -> str:
    """Format a metric with its interval."""
    value, low, high = (metric[name] for name in ("value", "low", "high"))
    if metric["name"].endswith("rank"):
        return f"{value:.1f} ({low:.1f}-{high:.1f})"
    return f"{value:.1%} ({100 * low:.1f}-{100 * high:.1f})".replace("%", " %", 1)
