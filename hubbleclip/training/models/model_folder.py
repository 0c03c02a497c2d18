"""Check the folder of a model before a library opens it: known keys, known files, bounded sizes, and no code.

A folder may come from an unknown source. open_clip and transformers would run Python files that a configuration names,
ask a hub for files, and allocate as much memory as a configuration demands.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import torch
from open_clip.hf_configs import arch_dict

from hubbleclip.config.model import OPEN_CLIP_CONFIG
from hubbleclip.core.errors import TrainingError
from hubbleclip.core.io import file_size, read_bounded

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
MAX_TOKENIZER_BYTES = 1 << 26
MAX_NUMBER, MAX_LAYERS = 1 << 20, 256
"""Largest number in the configuration of a model, and the largest number of layers."""
UNBOUNDED = "model_max_length"
"""Key whose number may exceed `MAX_NUMBER`: transformers writes 10^30 if texts may have any number of tokens."""
SPARE_BYTES = 1 << 26
"""A model may take this many bytes more than twice the size of its weight file, which may be in half precision."""
SMALL_FILES = ["*.json", "*.txt", "*.model"]
TOKENIZER_FILES = frozenset({"tokenizer.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "vocab.txt"})
"""A folder with a tokenizer of the library transformers has at least one of these files."""
TOKENIZERS = re.compile(
    "(|Bert|CLIP|Gemma|GPT2|M2M100|MPNet|Nllb|PreTrained|Roberta|Siglip2?|T5|XLMRoberta)Tokenizer(Fast|sBackend)?"
)
TEXT_KEYS = re.compile(
    r"(hf|timm)_\w+|\w*_type|(\w+_)?mode|clean|language|approximate|interpolation|architectures|hidden_act|dense_act_fn"
    r"|activation_function|feed_forward_proj|(torch_)?dtype|transformers_version|_?name_or_path|prefix|\d+|backend|errors"
    r"|(tokenizer|processor)_class|(padding|truncation)_side|truncation_strategy|(tokenizer|vocab|special_tokens_map)_file"
    r"|(src|tgt)_lang|language_codes|model_input_names|\w+_token|content|\w+_special_tokens|chat_template"
)
"""Keys whose values may be strings. A string under any other key could name code or a download address."""
CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipelines", "quantization_config"})
"""Keys that are refused whatever their value is."""
OPTIONS = frozenset({"clean", "strip_sep_token", "language", "approximate", "eps"})
"""Accepted keys of the objects `*_kwargs`, which open_clip passes to other libraries; other keys could name files."""


def fetch(repository: str) -> Path:
    """Fetch the files of a repository of the hub, unless they are in the hub's cache, and return their folder.

    If the configuration or the tokenizer of the text tower is in another repository, it is fetched from there.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - takes 1 s, and only the hub needs it

    folder = Path(snapshot_download(repository, allow_patterns=SMALL_FILES))
    names = {path.name for path in folder.iterdir()}
    if CONFIG in names and OPEN_CLIP_CONFIG not in names:
        return Path(snapshot_download(repository, allow_patterns=[*SMALL_FILES, "model*.safetensors"]))
    open_clip.pretrained.download_pretrained_from_hf(repository)
    text = read_config(folder / OPEN_CLIP_CONFIG)["model_cfg"]["text_cfg"]
    tower = None if CONFIG in names else text.get("hf_model_name")
    tokenizer = None if names & TOKENIZER_FILES else text.get("hf_tokenizer_name")
    wanted = [(tower, [CONFIG]), (tokenizer, SMALL_FILES)]
    parts = [Path(snapshot_download(name, allow_patterns=files)) for name, files in wanted if name]
    return Path(_joined(folder, *parts).name) if parts else folder


@cache
def _joined(folder: Path, *parts: Path) -> TemporaryDirectory[str]:
    """Link the files of `folder` and the `SMALL_FILES` of `parts` into a folder that exists until the process ends."""
    joined = TemporaryDirectory()
    small = [path for part in parts for kind in SMALL_FILES for path in part.glob(kind)]
    for name, path in {path.name: path for path in [*reversed(small), *folder.iterdir()]}.items():
        Path(joined.name, name).symlink_to(path.absolute())
    return joined


def check_open_clip(folder: Path) -> int:
    """Check a folder in the layout of open_clip; unknown keys are refused later by open_clip's classes.

    Returns the size of the largest file of weights, in bytes.
    """
    model = read_config(folder / OPEN_CLIP_CONFIG)["model_cfg"]
    check_towers(str(folder), model)
    if not re.fullmatch(r"[\w.]+", model["vision_cfg"].get("timm_model_name") or "none"):
        raise ValueError("timm_model_name is not the name of an architecture")
    if model["text_cfg"].get("hf_model_name"):
        check_transformers(folder, arch_dict)
    if model["text_cfg"].get("hf_tokenizer_name"):
        check_tokenizer(folder)
    weights = [path for kind in ("safetensors", "bin", "pth") for path in folder.glob(f"*.{kind}")]
    if not weights:
        raise ValueError("the folder has no file of weights, *.safetensors, *.bin or *.pth")
    return max(map(check_weights, weights))  # open_clip reads only one of the files


def check_towers(name: str, config: Mapping[str, Any]) -> None:
    """Raise TrainingError if a configuration of open_clip describes a CoCa model."""
    if "multimodal_cfg" in config:
        raise TrainingError(
            f"{name} is a CoCa model, which also writes captions, and is not supported: set model.name to a model of "
            "two towers, such as ViT-B-16"
        )


def check_transformers(folder: Path, kinds: Collection[str]) -> str:
    """Check the configuration of a model of transformers, whose kind must be one of `kinds`, and return the kind."""
    kind = str(read_config(folder / CONFIG)["model_type"])
    if kind not in kinds:
        raise ValueError(f"the configuration has the kind {kind}, and not {' or '.join(kinds)}")
    return kind


def check_tokenizer(folder: Path) -> None:
    """Check the files of a tokenizer of transformers."""
    small = {path.name for kind in SMALL_FILES for path in folder.glob(kind) if read_bounded(path, MAX_TOKENIZER_BYTES)}
    if not TOKENIZER_FILES & small:
        raise ValueError(f"the folder has none of the tokenizer files {', '.join(sorted(TOKENIZER_FILES))}")
    kind = read_config(folder / TOKENIZER_CONFIG).get("tokenizer_class")
    if not TOKENIZERS.fullmatch(str(kind)):
        raise ValueError(f"{TOKENIZER_CONFIG} has the unknown tokenizer_class {kind!r}")


def check_weights(path: Path) -> int:
    """Return the size of a file of weights in bytes. Raises ValueError if the file unpacks to more than this size."""
    num_bytes = file_size(path)
    if path.suffix == ".safetensors":  # safetensors files are never compressed
        return num_bytes
    with zipfile.ZipFile(path) as archive:  # files of torch.save are zip files
        if sum(member.file_size for member in archive.infolist()) > num_bytes:
            raise ValueError(f"{path.name} is compressed, which torch.save never does")
    return num_bytes


def check_size(name: str, weight_bytes: int, **options: Any) -> None:
    """Raise ValueError if a model would take much more memory than its weights. The check allocates no weights."""
    with torch.device("meta"):
        model = open_clip.create_model(name, load_weights=False, device="meta", pretrained_text=False, **options)
    size = sum(one.numel() * one.element_size() for one in (*model.parameters(), *model.buffers()))
    if size > 2 * weight_bytes + SPARE_BYTES:
        raise ValueError(f"the model would take {size >> 20} MB of memory, but its weights are {weight_bytes >> 20} MB")


def read_config(path: Path) -> Any:
    """Read a configuration. Raises ValueError for a number out of range, and for a string under an unknown key."""
    text: str | bytes = read_bounded(path)
    if path.name == OPEN_CLIP_CONFIG:  # open_clip ignores the other keys, such as a description
        text = json.dumps({key: one for key, one in json.loads(text).items() if key in ("model_cfg", "preprocess_cfg")})
    return json.loads(text, object_pairs_hook=_checked_object)


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, value in pairs:
        limit, found = MAX_LAYERS if "layers" in key else MAX_NUMBER, [value]
        for one in found:
            if key in CODE_KEYS or (isinstance(one, str) and not TEXT_KEYS.fullmatch(key)):
                raise ValueError(f"the configuration has the unknown key {key!r}")
            if key.endswith("_kwargs") and isinstance(one, dict) and not one.keys() <= OPTIONS:
                raise ValueError(f"{key} has a key that is none of {', '.join(sorted(OPTIONS))}")
            if isinstance(one, list):
                found.extend(one)
            elif isinstance(one, int | float) and not abs(one) <= limit and key != UNBOUNDED:
                raise ValueError(f"{key} is {one}, which is out of range")
    return dict(pairs)
