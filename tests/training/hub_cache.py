"""A cache of the Hugging Face hub with made models, as `huggingface_hub` keeps it."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from hubbleclip.training.models.builder import LoadedModel

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WORDS = [
    "<pad>",
    "</s>",
    "<unk>",
    *["a", "the", "of", "we", "saw", "spiral", "galaxy", "comet", "square", "top", "bottom", "left", "right", "shines"],
]


def snapshot(cache: Path, name: str) -> Path:
    """Make the folder of a repository's only commit."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    made = folder / "snapshots" / COMMIT
    made.mkdir(parents=True)
    (folder / ".no_exist" / COMMIT).mkdir(parents=True)
    (folder / ".no_exist" / COMMIT / "config.json").touch()  # as after a request that found no such file
    return made


def write_tokenizer(folder: Path) -> None:
    """Write a processor with a tokenizer of words, padded at the end of a text like that of SigLIP 2."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, SiglipImageProcessor, SiglipProcessor

    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    images = SiglipImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3)
    SiglipProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)


def write_base(folder: Path, loaded: LoadedModel, tokenizer: str = "") -> None:
    """Write a model of the kind of `loaded`, as trained ones are: of another seed, and with the scale 100."""
    config = {**SQUARES, "text_cfg": {**SQUARES["text_cfg"], "context_length": 24}}
    if tokenizer:
        config["text_cfg"] |= {"hf_tokenizer_name": tokenizer, "tokenizer_kwargs": {"clean": "canonicalize"}}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3}})
    )
    state = loaded.model.state_dict() | {"logit_scale": torch.tensor(100.0).log()}
    save_file({name: weight.contiguous() for name, weight in state.items()}, folder / "open_clip_model.safetensors")


SQUARES = json.loads((Path(__file__).parent / "models" / "squares-vit.json").read_text())
