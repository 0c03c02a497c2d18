"""Folders of models that a stranger made: code, and keys of their configurations that are replaced at random."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

import hubbleclip
from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.training.export.open_clip_folder import merged, write_open_clip
from hubbleclip.training.export.transformers_clip import write_transformers
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.models.transformers_folder import converted

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from finished_runs import made_run

EVIL = "from pathlib import Path\nPath({marker!r}).touch()\nclass Evil:\n    pass\n"
VALUES: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**6, 10**9, 10**19, 1e308, float("nan"), float("inf"), "", "evil", "evil--Evil.Evil"),
    *("hf-hub:evil/evil", "local-dir:.", "../evil", "/etc/passwd", "a" * 100_000, [], {}, [10**6] * 4, ["evil"] * 1000),
    *({"trust_remote_code": True}, {"auto_map": {"AutoModel": "evil.Evil"}}, json.loads("[" * 900 + "]" * 900)),
]
HOSTILE = {
    "trust_remote_code": True,
    "tokenizer_kwargs": {"trust_remote_code": True},
    "auto_map": dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer"), "evil.Evil"),
    "hf_model_name": "evil/evil",
    "hf_tokenizer_name": "evil/evil",
    "timm_model_name": "hf-hub:evil/evil",
    "_attn_implementation": "evil/evil",
    "quantization_config": {"quant_method": "evil"},
}


def make_clip(folder: Path) -> Path:
    """Write a small CLIP model as `export` does."""
    folder.mkdir(parents=True)
    write_open_clip(merged(load_model(ModelSettings(name="squares-vit", pretrained=""), 1)), folder)
    return folder


def make_text_tower(folder: Path) -> Path:
    """Write a small model whose text tower and tokenizer are those of transformers."""
    from transformers import BertConfig, BertTokenizer

    make_clip(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "comet", "galaxy"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes).save_pretrained(folder)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    text = {"hf_model_name": str(folder), "hf_tokenizer_name": "x", "hf_proj_type": "linear", "context_length": 16}
    config["model_cfg"]["text_cfg"] = text
    path.write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    save_file(
        {name: one.contiguous() for name, one in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def make_transformers(folder: Path) -> Path:
    """Write a small CLIP model of transformers as `export` does."""
    folder.mkdir(parents=True)
    write_transformers(load_model(ModelSettings(name="squares-vit", pretrained=""), 1), folder)
    return folder


MAKERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "open_clip_config.json": (make_clip, "open_clip_config.json"),
    "open_clip_config.json of a text tower": (make_text_tower, "open_clip_config.json"),
    "config.json": (make_text_tower, "config.json"),
    "config.json of transformers": (make_transformers, "config.json"),
    "preprocessor_config.json": (make_transformers, "preprocessor_config.json"),
    "tokenizer_config.json": (make_text_tower, "tokenizer_config.json"),
    "run.json": (made_run, "run.json"),
}


def places(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """List the keys of nested objects."""
    for key, one in list(value.items()):
        yield value, key
        if isinstance(one, dict):
            yield from places(one)


def mutated(text: str, draw: random.Random) -> str:
    """Replace, delete or add keys of a JSON object; the settings of a run are JSON in JSON."""
    config = json.loads(text)
    inner = json.loads(config["settings"]) if "settings" in config else {}
    for _ in range(draw.choice((1, 1, 2))):
        parent, key = draw.choice([*places(config), *places(inner)])
        kind = draw.random()
        if kind < 0.7:
            parent[key] = draw.choice(VALUES)
        elif kind < 0.8:
            parent.pop(key, None)
        else:
            name = draw.choice(list(HOSTILE))
            parent[name] = HOSTILE[name]
    if inner and draw.random() < 0.1:
        inner["model"]["name"] = draw.choice(["local-dir:.", "ViT-bigG-14", "hf-hub:evil/evil", *VALUES])
    if inner and isinstance(config.get("settings"), str):
        config["settings"] = json.dumps(inner)
    return json.dumps(config)


def load_mutations(name: str, root: str, num: int, seed: int) -> str:
    """Load a folder after each of `num` mutations of one of its files, and count the models and the refusals."""
    make, file = MAKERS[name]
    folder, marker = make(Path(root) / "model"), Path(root) / "executed"
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    original, draw, counts = (folder / file).read_text(), random.Random(seed), {"models": 0, "lines": 0}
    for _ in range(num):
        (folder / file).write_text(mutated(original, draw))
        converted.cache_clear()
        try:
            hubbleclip.load_model(folder)
            counts["models"] += 1
        except HubbleclipError as error:
            assert "\n" not in str(error)
            counts["lines"] += 1
        except Exception as error:
            shutil.copy(folder / file, Path(root) / "broken.json")
            raise AssertionError(f"{(folder / file).read_text()[:1500]}") from error
        assert not marker.exists(), (folder / file).read_text()[:3000]
    return f"{num} draws: {counts['models']} models, {counts['lines']} lines, no code"


def load_with_code(root: str) -> str:
    """Load a folder that names a Python file in each place that a library would read."""
    folder, marker = make_text_tower(Path(root) / "model"), Path(root) / "executed"
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    changes = {"open_clip_config.json": {"tokenizer_kwargs": HOSTILE["trust_remote_code"]}}
    for file in ("config.json", "tokenizer_config.json"):
        changes[file] = {"auto_map": HOSTILE["auto_map"], "model_type": "evil", "tokenizer_class": "Evil"}
    for file, more in changes.items():
        config = json.loads((folder / file).read_text())
        target = config["model_cfg"]["text_cfg"] if "model_cfg" in config else config
        target |= {"tokenizer_kwargs": {"trust_remote_code": True}} if target is not config else more
        (folder / file).write_text(json.dumps(config))
    try:
        hubbleclip.load_model(folder)
    finally:
        assert not marker.exists()
    return "loaded"


def load_inflated(root: str) -> str:
    """Load a run whose checkpoint, a few MB, is compressed and unpacks to 8 GB."""
    import zipfile

    run_dir = made_run(Path(root))
    path = run_dir / "checkpoints" / "step-00000004.pt"
    with zipfile.ZipFile(path) as archive:
        members = {one.filename: archive.read(one) for one in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(content)
                for _ in range(80 if "data/0" in name else 0):
                    file.write(bytes(100_000_000))
    facts = json.loads((run_dir / "run.json").read_text())
    facts["checkpoints"] = []
    (run_dir / "run.json").write_text(json.dumps(facts))
    hubbleclip.load_model(run_dir)
    return f"loaded {torch.__version__}"
