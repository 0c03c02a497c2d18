"""Load CLIP models by their open_clip names, with their tokenizers and the sizes and normalisation of their images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from types import MethodType
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hubbleclip.config.model import HUB, LOCAL_DIR, TEMPERATURE, ModelSettings
from hubbleclip.core.errors import TrainingError, detail_of, explained
from hubbleclip.training.losses import Loss
from hubbleclip.training.models.model_folder import (
    check_open_clip,
    check_size,
    check_towers,
    fetch,
)
from hubbleclip.training.models.pretrained import PACKAGES, PREPROCESS, TOWERS, load_towers, register_towers
from hubbleclip.training.models.text_context import (
    OWN_LENGTH,
    encode_short_text,
    is_stretchable,
    padding_id,
    read_as_padded,
    stretch_context,
)
from hubbleclip.training.models.transformers_folder import converted, is_transformers_folder

log = logging.getLogger(__name__)

PATCH_DROPOUTS = {"PatchDropout", "PatchDropoutWithIndices"}
MODELS_DIR = Path(__file__).parent
MAX_LOG_SCALE = 4.60517  # just below log(100), because CLIP limits the scale to 100
CPU_BATCH_PIXELS = 8 * 224**2  # pixels per forward pass on a CPU; keeps each activation below `HEAP_BLOCK_BYTES`
CPU_BATCH_TEXTS = 16
HEAP_BLOCK_BYTES = 2**25 - 2**16  # just below 32 MiB, the largest block for which glibc can use its heap


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedModel:
    """A CLIP model with its tokenizer and preprocessing.

    `mean` and `std` have one value per channel, for grey levels in [0, 1]. `image_size` is the side in pixels.
    `padding_id` is the id of the token that pads short texts; it is None if texts must be padded to `context_length`.
    """

    model: Any  # open_clip's CLIP or CustomTextCLIP, or ModelWithHeads
    tokenizer: Any
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    context_length: int
    padding_id: int | None
    settings: ModelSettings

    @property
    def has_aligned_towers(self) -> bool:
        """Whether the initial weights of both towers were trained together."""
        return bool(self.settings.weights) and not _is_packaged(self.settings)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def normalise(self, levels_b1hw: Tensor) -> Tensor:
        """Turn grey levels into the model's input.

        Parameters
        ----------
        levels_b1hw
            Grey levels (b, 1, h, w), uint8 or float in [0, 1].

        Returns
        -------
        Tensor
            Images (b, 3, h, w), float32, on the model's device.

        """
        levels = levels_b1hw.to(self.device)
        levels = levels.float() / 255 if levels.dtype == torch.uint8 else levels
        mean, std = (torch.tensor(values, device=self.device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (levels - mean) / std  # the three means broadcast the single channel to (b, 3, h, w)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    def trim_padding(self, tokens_bl: Tensor) -> Tensor:
        """Remove the columns that hold padding only. This saves time and changes no feature.

        Parameters
        ----------
        tokens_bl
            Tokens (b, l), where l is the context length.

        Returns
        -------
        Tensor
            A view of the first columns, up to the end of the longest text; all columns if `padding_id` is None.

        """
        if self.padding_id is None:
            return tokens_bl
        return tokens_bl[:, : int((tokens_bl != self.padding_id).any(0).nonzero().max()) + 1]

    @torch.inference_mode()
    def encode_images(self, levels_b1hw: Tensor) -> Tensor:
        """Encode tiles; switches the model to evaluation mode.

        Parameters
        ----------
        levels_b1hw
            Tiles (b, 1, image_size, image_size), uint8 or float in [0, 1].

        Returns
        -------
        Tensor
            Features (b, d) of length 1, float32, on the CPU.

        """
        parts = self._device_batches(levels_b1hw, CPU_BATCH_PIXELS // self.image_size**2)
        return _l2_normalised([self.model.encode_image(self.normalise(part).to(self.dtype)) for part in parts])

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts; switches the model to evaluation mode.

        Parameters
        ----------
        texts
            Texts; each is truncated at the model's context length.

        Returns
        -------
        Tensor
            Features (b, d) of length 1, float32, on the CPU.

        """
        parts = self._device_batches(self.tokenizer(list(texts)), CPU_BATCH_TEXTS)
        return _l2_normalised([self.model.encode_text(self.trim_padding(part).to(self.device)) for part in parts])

    def _device_batches(self, inputs_b: Tensor, cpu_batch: int) -> Sequence[Tensor]:
        """Set evaluation mode; split a batch into parts of `cpu_batch` rows on a CPU, and keep it whole on a GPU."""
        if self.model.training:  # a switch takes 3 ms, so it is made only if needed
            self.model.eval()
        if self.device.type != "cpu":
            return (inputs_b,)
        _raise_mmap_threshold()
        return torch.split(inputs_b, max(cpu_batch, 1))


@cache
def _raise_mmap_threshold() -> None:
    """Make glibc reuse the memory of freed activations instead of returning it to the operating system.

    glibc allocates large blocks with `mmap` and returns them when they are freed. The kernel then clears the pages of
    every new block, which takes a third of the time of a batch. This function frees one block of `HEAP_BLOCK_BYTES`.
    From then on, glibc takes blocks up to this size from its heap, whose memory it reuses (see `M_MMAP_THRESHOLD` in
    mallopt(3)). Other allocators are unaffected.
    """
    torch.empty(HEAP_BLOCK_BYTES, dtype=torch.uint8)


def _l2_normalised(parts_pd: Sequence[Tensor]) -> Tensor:
    """Scale rows to length 1 in float32 on the CPU, because bfloat16 has only 8 significant bits."""
    return F.normalize(torch.cat([part.float().cpu() for part in parts_pd]), dim=-1)


def load_model(settings: ModelSettings, seed: int) -> LoadedModel:
    """Load the model that the settings name, with its weights."""
    with explained(partial(load_error, settings)):
        settings, weight_bytes = _checked(settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _create(settings, weight_bytes)
            if _is_packaged(settings):
                load_towers(model)
            kinds = {type(module).__name__ for module in model.modules()}
            if settings.force_patch_dropout and not kinds & PATCH_DROPOUTS:
                raise ValueError("no patch_dropout")
            return _with_preprocessing(model, settings)


def _checked(settings: ModelSettings) -> tuple[ModelSettings, int]:
    """Return settings with the path of a checked folder of open_clip, and the size of the weights in bytes.

    A hub model is downloaded, and a folder of transformers is converted. If `settings.name` is an architecture, the
    settings are returned unchanged, with size 0.
    """
    if settings.name.startswith(HUB):
        folder = fetch(settings.name.removeprefix(HUB))
    elif settings.name.startswith(LOCAL_DIR):
        folder = Path(settings.name.removeprefix(LOCAL_DIR))
    else:
        return settings, 0
    if is_transformers_folder(folder):
        folder = Path(converted(folder).name)
    num_bytes = check_open_clip(folder)
    return settings.model_copy(update={"name": f"{LOCAL_DIR}{folder}"}), num_bytes


def rebuild_model(
    settings: ModelSettings,
    state: dict[str, Tensor],
    prepare: Callable[[LoadedModel], LoadedModel] = lambda loaded: loaded,
) -> LoadedModel:
    """Rebuild a trained model from a checkpoint's weights, without network access."""
    settings, _ = _checked(settings)
    num_bytes = 1 + sum(one.numel() * one.element_size() for one in state.values())
    model = _create(settings, num_bytes, load_weights=False)
    # the architecture has no logit bias, but training with a sigmoid loss added one
    if model.logit_bias is None and any(name.endswith("logit_bias") for name in state):
        model.logit_bias = nn.Parameter(torch.zeros_like(model.logit_scale))
    loaded = prepare(_with_preprocessing(model, settings))
    loaded.model.load_state_dict(state)
    return loaded


def set_initial_scale(loaded: LoadedModel, batch_size: int, loss: Loss) -> None:
    """Set the logit scale of towers that were not trained together; set scale and bias if the loss needs a new bias."""
    model = loaded.model
    with torch.no_grad():
        if not loaded.has_aligned_towers:
            model.logit_scale.fill_(1 / TEMPERATURE).log_()  # the logarithm is taken in float32
        if loss.initial_scale_and_bias is not None and model.logit_bias is None:
            scale, bias = loss.initial_scale_and_bias(batch_size)
            model.logit_scale.fill_(scale).log_()
            model.logit_bias = nn.Parameter(torch.full_like(model.logit_scale, bias))


def clamp_scale(model: Any) -> None:
    """Limit exp(logit_scale) to 100, in place, except for a sigmoid loss.

    CLIP has this limit (arXiv 2103.00020, section 2.5). SigLIP has no limit, and its published scales are above 100.
    """
    if model.logit_bias is None:
        with torch.no_grad():
            model.logit_scale.clamp_(max=MAX_LOG_SCALE)


@cache
def _register_own_models() -> None:
    """Register the model configurations in this folder with open_clip, once."""
    open_clip.add_model_config(MODELS_DIR)


def _pretrained_tag(settings: ModelSettings) -> dict[str, Any]:
    """Return open_clip's description of the weights `settings.pretrained`; {} if open_clip has no such tag.

    Raises TrainingError if the model or the weights are unknown.
    """
    _register_own_models()
    if settings.name == TOWERS:
        register_towers()
    config = open_clip.get_model_config(settings.name)
    if config is None:
        raise TrainingError(
            f"unknown model {settings.name!r}: set model.name to hubbleclip-tiny, {TOWERS}, "
            f"one of open_clip.list_models(), {HUB}OWNER/NAME or {LOCAL_DIR}FOLDER"
        )
    check_towers(settings.name, config)
    tag: dict[str, Any] = open_clip.pretrained.get_pretrained_cfg(settings.name, settings.pretrained) or {}
    if settings.pretrained and not (tag or _is_packaged(settings) or Path(settings.pretrained).is_file()):
        packaged = [PACKAGES] if settings.name == TOWERS else []
        tags = ", ".join(packaged or open_clip.list_pretrained_tags_by_model(settings.name)) or "none; leave it empty"
        raise TrainingError(
            f"unknown weights {settings.pretrained!r} for {settings.name}: "
            f"set model.pretrained to a checkpoint file or a tag ({tags})"
        )
    return tag


def _is_packaged(settings: ModelSettings) -> bool:
    """Return whether the weights come from installed packages."""
    return settings.name == TOWERS and settings.pretrained == PACKAGES


def _create(settings: ModelSettings, weight_bytes: int, *, load_weights: bool = True) -> Any:
    """Build the model. Its activation function is the one that the weights were trained with, such as QuickGELU.

    Raises ValueError if the model takes much more memory than `weight_bytes`; 0 skips this check.
    """
    name, tag = settings.name, _pretrained_tag(settings)
    pretrained = settings.pretrained if load_weights and not _is_packaged(settings) else ""
    preprocess = PREPROCESS if name == TOWERS else {key: tag[key] for key in ("mean", "std") if key in tag}
    options: dict[str, Any] = {"force_quick_gelu": bool(tag.get("quick_gelu", False)), **_text_options(name)}
    # a file of weights may have a logit bias that the architecture lacks, because a sigmoid loss adds a logit bias
    is_file = pretrained and not tag and not pretrained.endswith((".npz", ".npy"))
    if is_file and "logit_bias" in open_clip.factory.load_state_dict(pretrained):
        options["init_logit_bias"] = 0.0
    # Logging is disabled: open_clip warns of random weights, which are intended here. Errors are still raised.
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        if weight_bytes:
            check_size(name, weight_bytes, **options)
        return open_clip.create_model(
            name,
            pretrained=pretrained or None,
            load_weights=load_weights,
            pretrained_text=False,
            force_patch_dropout=settings.force_patch_dropout or None,
            force_preprocess_cfg=preprocess,
            **options,
        )
    finally:
        logging.disable(level)


def architecture(settings: ModelSettings) -> dict[str, Any]:
    """Return a copy of open_clip's configuration of a model, with the changes that its weights and settings require."""
    tag = _pretrained_tag(settings)
    config: dict[str, Any] = open_clip.get_model_config(settings.name)
    if tag.get("quick_gelu"):
        config["quick_gelu"] = True
    if settings.context_length:
        config["text_cfg"]["context_length"] = settings.context_length
    return config


def _text_options(name: str) -> dict[str, Any]:
    """Return open_clip's options for the text tower of the folder `name`; {} if the tower requires no options.

    For a tower of the library transformers, the options make open_clip read the configuration from the folder instead
    of the hub. The key `OWN_LENGTH` is removed, because open_clip refuses this key.
    """
    text = open_clip.get_model_config(name)["text_cfg"]
    if not name.startswith(LOCAL_DIR) or not (text.get("hf_model_name") or OWN_LENGTH in text):
        return {}
    own = {"hf_model_name": name.removeprefix(LOCAL_DIR), "hf_model_pretrained": False}
    known = {key: value for key, value in text.items() if key != OWN_LENGTH}
    return {"text_cfg": known | (own if text.get("hf_model_name") else {})}


@lru_cache(8)  # a tokenizer takes 25 MB
def _open_tokenizer(name: str, context_length: int) -> Any:
    """Open the tokenizer of an architecture; cached, because `split_for` caches its results per tokenizer object.

    Raises TrainingError if the tokenizer cannot be loaded.
    """
    hint = "pip install 'hubbleclip[offline]' and connect to the internet for the first run, or set another model.name"
    with explained(lambda error: TrainingError(f"the tokenizer of {name} does not load ({detail_of(error)}): {hint}")):
        is_hf = bool(open_clip.get_model_config(name)["text_cfg"].get("hf_tokenizer_name"))
        options = {"trust_remote_code": False} if is_hf else {}
        return open_clip.get_tokenizer(name, context_length=context_length or None, **options)


def _with_preprocessing(model: Any, settings: ModelSettings) -> LoadedModel:
    """Add tokenizer, image size and normalisation to a model."""
    config = open_clip.get_model_config(settings.name)
    tokenizer = _open_tokenizer(settings.name, settings.context_length)
    own_length = config["text_cfg"].get(OWN_LENGTH)
    if settings.context_length:
        if not is_stretchable(config):
            raise TrainingError(
                "model.context_length stretches text towers of open_clip only, such as those of CLIP, PE and SigLIP 2: "
                "set it to 0 for this model, whose training texts are sentences that fit its context"
            )
        if config["text_cfg"].get("no_causal_mask"):
            own_length = own_length or model.context_length
        stretch_context(model, settings.context_length)
    if own_length:
        read_as_padded(model, own_length, padding=int(tokenizer([""])[0, -1]))
    if type(model) is open_clip.CLIP:
        model.encode_text = MethodType(encode_short_text, model)
    preprocess = open_clip.get_model_preprocess_cfg(model)
    size = preprocess["size"]
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        image_size=size if isinstance(size, int) else size[0],
        mean=_channels(preprocess["mean"]),
        std=_channels(preprocess["std"]),
        context_length=tokenizer.context_length,
        padding_id=padding_id(model),
        settings=settings,
    )


def _channels(values: Sequence[float]) -> tuple[float, float, float]:
    """Return one value per channel. Raises ValueError if `values` does not have three numbers."""
    red, green, blue = map(float, values)
    return red, green, blue


def load_error(settings: ModelSettings, error: Exception) -> TrainingError:
    """Make the error that says why weights do not load and what to change."""
    name, detail = settings.name, detail_of(error)
    if settings.force_patch_dropout and "patch_drop" in detail:
        advice = "its image tower is no vision transformer: set model.force_patch_dropout to 0"
    elif name.startswith(LOCAL_DIR):
        advice = "export it again"
    elif name.startswith(HUB) and not isinstance(error, OSError):
        advice = "set another model.name"
    elif Path(settings.pretrained).is_file():
        advice = "set model.name to the architecture of the weights"
    else:
        advice = "connect to the internet for the first run, or set another model.name or a file as model.pretrained"
    weights = f" with the weights {settings.pretrained!r}" if settings.pretrained else ""
    return TrainingError(f"{name.removeprefix(LOCAL_DIR)}{weights} does not load ({detail}): {advice}")
