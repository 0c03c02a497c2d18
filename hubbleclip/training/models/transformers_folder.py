"""Read a CLIP, SigLIP or SigLIP 2 model of transformers by converting its folder to the layout of open_clip.

`export.transformers_clip` converts in the opposite direction, with the same table `CLIP_NAMES`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hubbleclip.config.model import OPEN_CLIP_CONFIG
from hubbleclip.core.errors import needing
from hubbleclip.core.io import read_json
from hubbleclip.training.models.model_folder import (
    CONFIG,
    check_tokenizer,
    check_transformers,
    check_weights,
)

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files of the image processor; transformers 5 writes the processor as a part of the second file."""
QUERY, SKIPPED = ".q_proj.", re.compile(r"\.[kv]_proj\.|position_ids$")
"""Part of the names of query weights, and pattern of the names that are skipped.

Key and value weights are skipped, because they are read together with the query weights.
"""
LAYERS = {
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
    "attn.out_proj.": "self_attn.out_proj.",
}
CLIP_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.": "vision_model.embeddings.patch_embedding.",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "visual.proj": "visual_projection.weight",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.": "text_model.final_layer_norm.",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "text_projection": "text_projection.weight",
    **LAYERS,
}
"""Maps parts of open_clip's weight names to parts of a `CLIPModel`'s weight names; parts are replaced in this order."""
PROJECTIONS = ("visual.proj", "text_projection")
"""Weights that are stored transposed in a `CLIPModel`."""
SIGLIP_TEXT = {
    "text.token_embedding.": "text_model.embeddings.token_embedding.",
    "text.positional_embedding": "text_model.embeddings.position_embedding.weight",
    "text.transformer.resblocks.": "text_model.encoder.layers.",
    "text.ln_final.": "text_model.final_layer_norm.",
    "text.text_projection.": "text_model.head.",
    **LAYERS,
}
SIGLIP_IMAGE = {
    "visual.trunk.patch_embed.proj.": "vision_model.embeddings.patch_embedding.",
    "visual.trunk.pos_embed": "vision_model.embeddings.position_embedding.weight",
    "visual.trunk.blocks.": "vision_model.encoder.layers.",
    "visual.trunk.norm.": "vision_model.post_layernorm.",
    "visual.trunk.attn_pool.latent": "vision_model.head.probe",
    "visual.trunk.attn_pool.proj.": "vision_model.head.attention.out_proj.",
    "visual.trunk.attn_pool.norm.": "vision_model.head.layernorm.",
    "visual.trunk.attn_pool.": "vision_model.head.",
    "norm1.": "layer_norm1.",
    "norm2.": "layer_norm2.",
    "attn.proj.": "self_attn.out_proj.",
}
CLIP_WORDS = 49408
"""Number of tokens of CLIP's tokenizer, which open_clip uses for each `CLIPModel`."""
SIGLIP_TOWERS = {768: "base", 1024: "large", 1152: "so400m", 1536: "giantopt"}
"""timm's names of SigLIP's image towers, by width."""


def is_transformers_folder(folder: Path) -> bool:
    """Test whether a folder has a model in the layout of transformers, but no model in the layout of open_clip."""
    return (folder / CONFIG).is_file() and not (folder / OPEN_CLIP_CONFIG).is_file()


@cache
def converted(folder: Path) -> TemporaryDirectory[str]:
    """Convert a folder of transformers to a folder of open_clip; the new folder exists until the process ends."""
    with needing("export", str(folder)):
        from transformers import AutoConfig, AutoTokenizer  # noqa: PLC0415 - takes seconds, and is optional
    is_clip = check_transformers(folder, ("clip", "siglip")) == "clip"
    config = AutoConfig.from_pretrained(folder)
    state: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        check_weights(path)
        state |= load_file(path)
    if not state:
        raise ValueError("the folder has no weights in model.safetensors or the files of its index")
    if is_clip and (num := config.text_config.vocab_size) != CLIP_WORDS:
        raise ValueError(f"the vocabulary is not that of CLIP: there are {num} tokens instead of {CLIP_WORDS}")
    made = TemporaryDirectory()
    save_file((clip_weights if is_clip else siglip_weights)(state), Path(made.name, "open_clip_model.safetensors"))
    if not is_clip:
        check_tokenizer(folder)
        AutoTokenizer.from_pretrained(folder).save_pretrained(made.name)
    processor: dict[str, Any] = {}
    for name in PROCESSORS:
        if (folder / name).is_file():
            values = read_json(folder / name)
            processor |= values.get("image_processor", values)
    preprocess = {name: processor[f"image_{name}"] for name in ("mean", "std") if f"image_{name}" in processor}
    model = (clip_model if is_clip else siglip_model)(config.vision_config, config.text_config, config)
    content = json.dumps({"model_cfg": model, "preprocess_cfg": preprocess})
    Path(made.name, OPEN_CLIP_CONFIG).write_text(content, encoding="utf-8")
    return made


def _weight_files(folder: Path) -> list[Path]:
    """List the files of weights that transformers reads: `model.safetensors`, or the files that its index lists."""
    index = folder / "model.safetensors.index.json"
    if not (folder / "model.safetensors").is_file() and index.is_file():
        return sorted({folder / Path(name).name for name in read_json(index)["weight_map"].values()})
    return [path for path in [folder / "model.safetensors"] if path.is_file()]


def clip_model(vision: Any, text: Any, both: Any) -> dict[str, Any]:
    """Convert the configuration of a `CLIPModel` to open_clip's format."""
    return {
        "embed_dim": both.projection_dim,
        "quick_gelu": vision.hidden_act == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "width": vision.hidden_size,
            "layers": vision.num_hidden_layers,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
        },
        "text_cfg": _text_tower(text),
    }


def siglip_model(vision: Any, text: Any, _: Any) -> dict[str, Any]:
    """Convert the configuration of a `SiglipModel`, except the image tower's activation: timm's default is used."""
    size = SIGLIP_TOWERS.get(vision.hidden_size, vision.hidden_size)
    activation = {"act_kwargs": {"approximate": "tanh"}} if text.hidden_act == "gelu_pytorch_tanh" else {}
    return {
        "embed_dim": text.projection_size,
        "init_logit_bias": 0.0,
        "custom_text": True,
        "vision_cfg": {
            "image_size": vision.image_size,
            "timm_model_name": f"vit_{size}_patch{vision.patch_size}_siglip_{vision.image_size}",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": _text_tower(text)
        | {
            "hf_tokenizer_name": "tokenizer",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": text.layer_norm_eps},
        }
        | activation,
    }


def _text_tower(text: Any) -> dict[str, Any]:
    """Return the sizes of a text tower of transformers with the keys of open_clip's configuration."""
    return {
        "context_length": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "width": text.hidden_size,
        "heads": text.num_attention_heads,
        "layers": text.num_hidden_layers,
        "mlp_ratio": text.intermediate_size / text.hidden_size,
    }


def renamed(name: str, parts: Mapping[str, str]) -> str:
    """Replace parts of the name of a weight."""
    for old, new in parts.items():
        name = name.replace(old, new)
    return name


def _read_weights(state: Mapping[str, Tensor], names: Mapping[str, str], joint: str) -> dict[str, Tensor]:
    """Rename weights from transformers' names to open_clip's names, and join query, key and value weights."""
    parts = {theirs: ours for ours, theirs in names.items()}
    found: dict[str, Tensor] = {}
    for name, weight in state.items():
        if not SKIPPED.search(name):
            joined = [state[name.replace(QUERY, f".{one}_proj.")] for one in "qkv"]
            found[renamed(name.replace(f".self_attn{QUERY}", joint), parts)] = (
                torch.cat(joined) if QUERY in name else weight
            )
    return found


def clip_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a `CLIPModel` to those of open_clip."""
    found = _read_weights(state, CLIP_NAMES, ".attn.in_proj_")
    return found | {name: found[name].T.contiguous() for name in PROJECTIONS}


def siglip_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a `SiglipModel` to those of open_clip."""
    image = {name: weight for name, weight in state.items() if name.startswith("vision_model.")}
    others = {name: weight for name, weight in state.items() if name not in image}
    found = _read_weights(image, SIGLIP_IMAGE, ".attn.qkv.") | _read_weights(others, SIGLIP_TEXT, ".attn.in_proj_")
    found |= {name: found[name].reshape(()) for name in ("logit_scale", "logit_bias")}
    found["visual.trunk.pos_embed"] = found["visual.trunk.pos_embed"][None]
    for kind in ("weight", "bias"):
        query, *rest = torch.chunk(found.pop(f"visual.trunk.attn_pool.attention.in_proj_{kind}"), 3)
        found[f"visual.trunk.attn_pool.q.{kind}"] = query.contiguous()
        found[f"visual.trunk.attn_pool.kv.{kind}"] = torch.cat(rest)
    return found
