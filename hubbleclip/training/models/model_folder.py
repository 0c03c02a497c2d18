"""Check the folder of a model before a library opens it: known keys, known files, bounded sizes, and no code.

A folder may come from a stranger. open_clip and transformers would run Python files that a configuration names, ask a
hub for files, and allocate what a configuration demands.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
import zipfile
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import Any

import open_clip
import torch
from open_clip.hf_configs import arch_dict
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg
from safetensors import SafetensorError

from hubbleclip.config.model import OPEN_CLIP_CONFIG
from hubbleclip.core.errors import TrainingError
from hubbleclip.core.io import check_bounded, read_bounded, read_json
from hubbleclip.training.models.text_context import OWN_LENGTH

try:
    from huggingface_hub import errors as hub_errors
except ImportError:  # `hide_unused_libraries` hides it from a short command
    hub_errors = None  # type: ignore[assignment]

LOAD_ERRORS = (
    *(OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ImportError, StopIteration),
    *(EOFError, ArithmeticError, AssertionError, MemoryError),
    *(struct.error, pickle.UnpicklingError, SafetensorError, zipfile.BadZipFile),
    getattr(hub_errors, "StrictDataclassError", OSError),  # only new versions have it
)
"""Errors that torch, open_clip and its libraries raise if files cannot be fetched or do not contain a model."""
CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
MAX_TOKENIZER_BYTES = 1 << 26
MAX_NUMBER, MAX_LAYERS = 1 << 20, 256
"""Largest number in the configuration of a model, and the largest number of layers."""
SPARE_BYTES = 1 << 26
"""Memory that a model may need besides twice the size of its weight file, whose weights may have half precision."""
SMALL_FILES = ["*.json", "*.txt", "*.model"]
TOKENIZER_FILES = frozenset({"tokenizer.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "vocab.txt"})
"""Files of which a tokenizer of transformers needs one."""
TOKENIZERS = re.compile(
    "(Bert|CLIP|Gemma|GPT2|M2M100|MPNet|Nllb|PreTrained|Roberta|Siglip2?|T5|XLMRoberta)Tokenizer(Fast)?"
    "|TokenizersBackend"
)
OPTIONS = {
    "tokenizer_kwargs": {"clean", "strip_sep_token", "language"},
    "act_kwargs": {"approximate"},
    "norm_kwargs": {"eps"},
}
"""Known keys of the objects in a tower's configuration that open_clip passes to other libraries."""
TEXT_KEYS = re.compile(
    "torch_dtype|position_embedding_type|tokenizer_class|name_or_path|padding_side|backend|processor_class"
    "|(tokenizer|vocab)_file|language_codes|truncation_(side|strategy)|special_tokens_map_file|errors|(src|tgt)_lang"
    "|model_input_names|(bos|eos|unk|sep|pad|cls|mask)_token|(additional|extra)_special_tokens|added_tokens_decoder"
    "|chat_template"
)
"""Keys of configurations of transformers, besides those of a model's class, whose values may contain texts. A text in
another key could name code, or a place to fetch from.
"""
CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipelines", "quantization_config"})
"""Keys that are refused wherever they are."""


def fetch(repository: str) -> Path:
    """Fetch the files of a repository of the hub, unless they are in the hub's cache, and return their folder.

    A text tower of transformers may have its configuration and its tokenizer in repositories of their own. Raises one
    of `LOAD_ERRORS` if the hub has no such files.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - takes 1 s, and only the hub needs it

    folder = Path(snapshot_download(repository, allow_patterns=SMALL_FILES))
    names = {path.name for path in folder.iterdir()}
    if CONFIG in names and OPEN_CLIP_CONFIG not in names:
        return Path(snapshot_download(repository, allow_patterns=[*SMALL_FILES, "model*.safetensors"]))
    open_clip.pretrained.download_pretrained_from_hf(repository)
    text = read_json(folder / OPEN_CLIP_CONFIG)["model_cfg"]["text_cfg"]
    tower = None if CONFIG in names else text.get("hf_model_name")
    tokenizer = None if names & TOKENIZER_FILES else text.get("hf_tokenizer_name")
    parts = [snapshot_download(tower, allow_patterns=[CONFIG])] if tower else []
    parts += [snapshot_download(tokenizer, allow_patterns=SMALL_FILES)] if tokenizer else []
    return Path(_joined(folder, *map(Path, parts)).name) if parts else folder


@cache
def _joined(folder: Path, *parts: Path) -> TemporaryDirectory[str]:
    """Make a folder, which exists until the process ends, of links to a folder's files and to small files of others."""
    joined = TemporaryDirectory()
    small = [path for part in parts for kind in SMALL_FILES for path in part.glob(kind)]
    for path in (*folder.iterdir(), *small):
        link = Path(joined.name, path.name)
        if not link.exists():
            link.symlink_to(path.absolute())
    return joined


def detail_of(error: Exception) -> str:
    """Shorten an error of a library to one line."""
    if isinstance(error, pickle.UnpicklingError):
        return "the file contains objects that are not tensors"
    return shorten(str(error), 200, placeholder=" ...") or type(error).__name__


def check_open_clip(folder: Path) -> None:
    """Check a folder in the layout of open_clip. Raises one of `LOAD_ERRORS` if it is refused."""
    config = _read_config(folder / OPEN_CLIP_CONFIG)
    model = config["model_cfg"]
    check_towers(str(folder), model)
    vision, text = model["vision_cfg"], {key: value for key, value in model["text_cfg"].items() if key != OWN_LENGTH}
    # these raise TypeError for an unknown key, as the class of the model does for one of `model_cfg`
    PreprocessCfg(**(config.get("preprocess_cfg") or {}))
    CLIPVisionCfg(**vision)
    CLIPTextCfg(**text)
    for name, keys in OPTIONS.items():
        if unknown := {*(vision.get(name) or ()), *(text.get(name) or ())} - keys:
            raise ValueError(f"{name} has the unknown key {min(unknown)!r}")
    if not re.fullmatch(r"[\w.]+", vision.get("timm_model_name") or "none"):
        raise ValueError("timm_model_name is not the name of an architecture")
    if text.get("hf_model_name"):
        check_transformers(folder, arch_dict)
    if text.get("hf_tokenizer_name"):
        check_tokenizer(folder)
    for path in weight_files(folder):
        check_weights(path)


def weight_files(folder: Path) -> list[Path]:
    """List the files of weights, of which open_clip reads one. Raises ValueError if a folder has none."""
    found = [path for kind in ("safetensors", "bin", "pth") for path in folder.glob(f"*.{kind}")]
    if not found:
        raise ValueError("the folder has no file of weights, *.safetensors, *.bin or *.pth")
    return found


def check_towers(name: str, config: Mapping[str, Any]) -> None:
    """Raise TrainingError if a configuration of open_clip is that of a CoCa model."""
    if "multimodal_cfg" in config:
        raise TrainingError(
            f"{name} is a CoCa model, which also writes captions, and is not supported: set model.name to a model of "
            "two towers, such as ViT-B-16"
        )


def check_transformers(folder: Path, kinds: Collection[str]) -> str:
    """Check the configuration of a model of transformers, whose kind must be one of `kinds`, and return the kind."""
    from transformers import CONFIG_MAPPING  # noqa: PLC0415 - takes 1 s, and only such models need it

    config = _read_config(folder / CONFIG)
    if config["model_type"] not in kinds:
        raise ValueError(f"the configuration has the kind {config['model_type']}, and not {' or '.join(kinds)}")
    _check_texts(CONFIG, config, CONFIG_MAPPING[config["model_type"]])
    return str(config["model_type"])


def check_tokenizer(folder: Path) -> None:
    """Check the files of a tokenizer of transformers."""
    small = [path for kind in SMALL_FILES for path in folder.glob(kind)]
    if not TOKENIZER_FILES & {path.name for path in small}:
        raise ValueError(f"the folder has no tokenizer, which is one of {', '.join(sorted(TOKENIZER_FILES))}")
    for path in small:
        check_bounded(path, MAX_TOKENIZER_BYTES)
    config = read_json(folder / TOKENIZER_CONFIG)
    if not TOKENIZERS.fullmatch(str(config.get("tokenizer_class"))):
        raise ValueError(f"{TOKENIZER_CONFIG} has the unknown tokenizer_class {config.get('tokenizer_class')!r}")
    _check_texts(TOKENIZER_CONFIG, config)


def check_weights(path: Path) -> None:
    """Check that a file of weights takes no more memory than its size. Raises one of `LOAD_ERRORS` if it may."""
    check_bounded(path)
    if path.suffix == ".safetensors":  # safetensors files are never compressed
        return
    with zipfile.ZipFile(path) as archive:  # files of torch.save are zip files
        num_bytes = sum(member.file_size for member in archive.infolist())
    if num_bytes > path.stat().st_size:
        raise ValueError(f"{path.name} is compressed, which torch.save never does")


def check_size(name: str, weight_bytes: int, **options: Any) -> None:
    """Build a model without memory, and raise ValueError if it would take much more memory than its weights."""
    with torch.device("meta"):
        model = open_clip.create_model(name, load_weights=False, device="meta", pretrained_text=False, **options)
    size = sum(one.numel() * one.element_size() for one in (*model.parameters(), *model.buffers()))
    if size > 2 * weight_bytes + SPARE_BYTES:
        raise ValueError(f"the model would take {size >> 20} MB of memory, but its weights are {weight_bytes >> 20} MB")


def _check_texts(name: str, values: dict[str, Any], kind: Any = None) -> None:
    """Check that texts are only in keys that the class `kind` of a configuration, or `TEXT_KEYS`, has."""
    own = kind().to_dict() if kind else ()
    for key, value in values.items():
        part = getattr(kind, "sub_configs", {}).get(key.removesuffix("_dict"))
        has_text = value not in ([], {}) and not isinstance(value, int | float | None)
        if part and isinstance(value, dict):
            _check_texts(name, value, part)
        elif key in CODE_KEYS or (has_text and key not in own and not TEXT_KEYS.fullmatch(key)):
            raise ValueError(f"{name} has the unknown key {key!r}")


def _read_config(path: Path) -> Any:
    """Read a configuration of a model, all of whose numbers must be finite and of a usual size."""
    return json.loads(read_bounded(path), object_pairs_hook=_checked_object)


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, value in pairs:
        found = [value]
        for one in found:
            if isinstance(one, list):
                found.extend(one)
            elif isinstance(one, int | float) and not abs(one) <= (MAX_LAYERS if "layers" in key else MAX_NUMBER):
                raise ValueError(f"{key} is {one}, which is out of range")
    return dict(pairs)
