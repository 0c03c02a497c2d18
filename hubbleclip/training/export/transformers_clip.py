"""Write a model as a `CLIPModel` of transformers, with its tokenizer and its image processor.

The model must have the same kinds of layers as OpenAI's CLIP with a vision transformer, because a `CLIPModel` has no
other layers. The number and the size of the layers may differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from hubbleclip.core.errors import needing
from hubbleclip.training.export.probes import require_equal
from hubbleclip.training.models.builder import LoadedModel, architecture
from hubbleclip.training.models.transformers_folder import CLIP_NAMES, PROJECTIONS, renamed

VISION_KEYS = frozenset({"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"})
TEXT_KEYS = frozenset({"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"})
"""Keys of open_clip's configuration that `CLIPModel` supports; any other key means a layer that `CLIPModel` lacks."""
HEAD_WIDTH, MLP_RATIO = 64, 4.0
"""open_clip's defaults: width of an attention head, and width of the MLP divided by the width of the tower."""


def has_clip_layers(loaded: LoadedModel) -> bool:
    """Return whether a model has the layers and the tokenizer of a `CLIPModel`."""
    is_plain = type(loaded.model) is open_clip.CLIP and loaded.model.logit_bias is None
    return is_plain and isinstance(loaded.tokenizer, SimpleTokenizer) and has_clip_config(architecture(loaded.settings))


def has_clip_config(config: Mapping[str, Any]) -> bool:
    """Return whether `CLIPModel` supports all layers of a configuration."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    is_transformer = isinstance(vision.get("layers"), int)  # in a ResNet, `layers` is a list
    return is_transformer and vision.keys() <= VISION_KEYS and text.keys() <= TEXT_KEYS


def write_transformers(loaded: LoadedModel, folder: Path) -> None:
    """Write `config.json`, `model.safetensors`, the tokenizer and the image processor; check the features."""
    with needing("export", "the export to transformers (or give --no-transformers)"):
        from transformers import CLIPConfig, CLIPModel, CLIPTokenizer  # noqa: PLC0415 - takes seconds, and is optional
    model: Any = CLIPModel(CLIPConfig(**clip_config(loaded)))
    model.eval()
    model.load_state_dict(clip_state(loaded.model.state_dict()))
    require_equal(
        "transformers",
        loaded,
        lambda pixels: model.get_image_features(pixel_values=pixels).pooler_output,
        lambda tokens: model.get_text_features(input_ids=tokens).pooler_output,
    )
    model.save_pretrained(folder)
    words = loaded.tokenizer
    vocabulary = {text: number for text, number in words.encoder.items() if number < words.sot_token_id}
    # open_clip has other names for these two tokens
    vocabulary |= {"<|startoftext|>": words.sot_token_id, "<|endoftext|>": words.eot_token_id}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=list(words.bpe_ranks), model_max_length=loaded.context_length)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor_config(loaded), indent=2) + "\n", "utf-8")


def clip_config(loaded: LoadedModel) -> dict[str, Any]:
    """Make the configuration of the `CLIPModel` that has the architecture of a model."""
    config = architecture(loaded.settings)
    vision, text = config["vision_cfg"], config["text_cfg"]
    common = {"hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu", "projection_dim": config["embed_dim"]}
    tokens = loaded.tokenizer
    return {
        "projection_dim": config["embed_dim"],
        "vision_config": common
        | {
            "hidden_size": vision["width"],
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // vision.get("head_width", HEAD_WIDTH),
            "intermediate_size": int(vision["width"] * vision.get("mlp_ratio", MLP_RATIO)),
            "image_size": loaded.image_size,
            "patch_size": vision["patch_size"],
        },
        "text_config": common
        | {
            "hidden_size": text["width"],
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "intermediate_size": int(text["width"] * text.get("mlp_ratio", MLP_RATIO)),
            "max_position_embeddings": loaded.context_length,
            "vocab_size": text["vocab_size"],
            "bos_token_id": tokens.sot_token_id,
            "eos_token_id": tokens.eot_token_id,
            "pad_token_id": 0,
        },
    }


def clip_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of an open_clip model to the names and shapes of a `CLIPModel`."""
    found: dict[str, Tensor] = {}
    for name, weight in state.items():
        module, joint, kind = renamed(name, CLIP_NAMES).partition("attn.in_proj_")
        if joint:  # the weight of query, key and value is split into three
            for part, chunk in zip("qkv", torch.chunk(weight, 3), strict=True):
                found[f"{module}self_attn.{part}_proj.{kind}"] = chunk.contiguous()
        else:
            found[module] = weight.T.contiguous() if name in PROJECTIONS else weight
    return found


def processor_config(loaded: LoadedModel) -> dict[str, Any]:
    """Make the configuration of the image processor of transformers."""
    size = {"height": loaded.image_size, "width": loaded.image_size}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": size,
        "resample": 3,  # bicubic: the model card advises Pillow's box filter (4), but torchvision lacks it
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(loaded.mean),
        "image_std": list(loaded.std),
    }
