"""Cards of exported models: with and without a report, public weights, files and the dataset."""

from collections.abc import Callable
from dataclasses import replace

from evaluation_samples import RUN
from squares_dataset import MODEL
from transformers import CLIPConfig, SiglipConfig

from hubbleclip.config.settings import ModelSettings
from hubbleclip.evaluation.report import model_card
from hubbleclip.training.export.open_clip_folder import open_clip_config
from hubbleclip.training.export.transformers_clip import clip_config, processor_config
from hubbleclip.training.losses import LOSSES
from hubbleclip.training.models.builder import load_model, set_initial_scale
from hubbleclip.training.models.transformers_folder import clip_model, siglip_model

FACTS = model_card.CardFacts(
    run=RUN,
    code_version="9.9",
    image_size=224,
    context_length=77,
    formats=("onnx",),
    report=None,
    description={
        "notices": {"hst": {"attribution": "Thanks to HST.", "licence": "public domain"}},
        "counts": {"train": {"samples": 12345}, "test": {"samples": 678}},
    },
)


def row(protocol: str, model: str, name: str, value: float, low: float, high: float) -> dict:
    return {"protocol": protocol, "model": model, "name": name, "value": value, "low": low, "high": high}


REPORT = {
    "dataset_digest": "e" * 32,
    "num_tiles": 1234,
    "num_captions": 321,
    "num_groups": 54,
    "metrics": [
        row("fair", "fine_tuned", "i2t_accuracy_at_10pct", 0.7564, 0.7, 0.8),
        row("fair", "fine_tuned", "t2i_accuracy_at_10pct", 0.8512, 0.801, 0.9),
        row("fair", "fine_tuned", "i2t_recall_at_1", 0.111, 0.09, 0.13),
        row("fair", "fine_tuned", "i2t_median_rank", 7.5, 5, 9),
        row("fair", "base", "i2t_accuracy_at_10pct", 0.31, 0.25, 0.375),
        row("views", "fine_tuned", "i2t_accuracy_at_10pct", 0.99, 0.98, 1.0),
        row("forgetting", "fine_tuned", "photographs_top1", 0.8, 0.7, 0.9),
        row("forgetting", "base", "photographs_top1", 0.9, 0.8, 0.95),
        row("forgetting", "fine_tuned", "digits_top1", 0.5, 0.45, 0.55),
        row("forgetting", "base", "digits_top1", 0.6, 0.55, 0.65),
    ],
}


CARDS = {
    "not evaluated": FACTS,
    "evaluated": replace(FACTS, report=REPORT, formats=("open_clip", "transformers", "onnx")),
    "from scratch, simulated": replace(
        FACTS,
        run=replace(RUN, pretrained=""),
        report=REPORT | {"metrics": REPORT["metrics"][:6]},
        description={"notices": {"simulated": {"attribution": "Simulated.", "licence": "none"}}, "counts": {}},
    ),
    "without its dataset": replace(FACTS, run=replace(RUN, pretrained=RUN.model), description=None, formats=()),
}


def test_configurations_of_exported_models_are_those_recorded(compare_recorded: Callable[..., None]) -> None:
    models = {length: load_model(MODEL.model_copy(update={"context_length": length}), 1) for length in (0, 40)}
    sigmoid, sizes = load_model(ModelSettings(name="hubbleclip-tiny", pretrained=""), 1), SiglipConfig()
    set_initial_scale(sigmoid, 8, LOSSES["siglip"])
    found = {f"open_clip {length}": open_clip_config(one) for length, one in models.items()}
    found |= {"open_clip sigmoid": open_clip_config(sigmoid), "processor": processor_config(models[0])}
    found |= {f"transformers {length}": clip_config(one) for length, one in models.items()}
    for name, tag in (("ViT-B-32", "openai"), ("ViT-bigG-14", "laion2b_s39b_b160k"), ("ViT-B-16-plus-240", "")):
        settings = ModelSettings(name=name, pretrained=tag)
        found[f"transformers {name}"] = clip_config(replace(models[0], settings=settings))
    found["read from CLIP"] = clip_model(
        *(getattr(CLIPConfig(), f"{part}_config") for part in ("vision", "text")), CLIPConfig()
    )
    found["read from SigLIP"] = siglip_model(sizes.vision_config, sizes.text_config, sizes)
    compare_recorded("configurations.json", found)


def test_cards_of_models_are_those_recorded(compare_recorded: Callable[..., None]) -> None:
    compare_recorded("cards.json", {name: model_card.model_card(facts).splitlines() for name, facts in CARDS.items()})
