"""Models by open_clip's names, with all that is needed to feed them: tokenizer, image size, mean and deviation."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.hf_model import HFTextEncoder
from torch import Tensor, nn

from hubbleclip.config.settings import ModelSettings, TrainSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.losses import Loss
from hubbleclip.training.models.pretrained import PACKAGES, STARTS, register

log = logging.getLogger(__name__)

MODELS_DIR = Path(__file__).parent
MAX_LOG_SCALE = 4.6051  # just below log(100): CLIP's ceiling
PIXELS_AT_ONCE = 8 * 224**2  # what a CPU encodes at once, so that its activations stay below `KEPT_BYTES`
TEXTS_AT_ONCE = 16
KEPT_BYTES = 2**25 - 2**16  # just below the largest block that glibc takes from its heap


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedModel:
    """A CLIP model and how to feed it. `mean`, `std`: a value a channel, for levels in [0, 1]; `image_size` in px.

    `padding_id` fills texts up; None where they must have the whole context length.
    """

    model: Any  # open_clip's CLIP or CustomTextCLIP
    tokenizer: Any
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    context_length: int
    padding_id: int | None
    settings: ModelSettings

    @property
    def is_pair(self) -> bool:
        """Whether its towers, with the weights that it starts from, were trained together."""
        return bool(self.settings.pretrained) and not _is_packaged(self.settings)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def normalise(self, levels_b1hw: Tensor) -> Tensor:
        """Grey levels, uint8 or in [0, 1], as the model's input (b, 3, h, w) on its device."""
        levels = levels_b1hw.to(self.device)
        levels = levels.float() / 255 if levels.dtype == torch.uint8 else levels
        mean, std = (torch.tensor(values, device=self.device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (levels - mean) / std

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    def shorten(self, tokens_bl: Tensor) -> Tensor:
        """Tokens up to the end of the longest text: the features are the same, and soon there. A view."""
        if self.padding_id is None:
            return tokens_bl
        return tokens_bl[:, : int((tokens_bl != self.padding_id).any(0).nonzero().max()) + 1]

    @torch.inference_mode()
    def encode_images(self, levels_b1hw: Tensor) -> Tensor:
        """Normalised features (b, d), float32 on the CPU, of tiles of `image_size`. The model is put in eval mode."""
        self.model.eval()
        parts = self._parts(levels_b1hw, PIXELS_AT_ONCE // self.image_size**2)
        return _normalised([self.model.encode_image(self.normalise(part).to(self.dtype)) for part in parts])

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Normalised features (b, d), float32 on the CPU, of texts, each cut at the model's context length."""
        self.model.eval()
        parts = self._parts(self.tokenizer(list(texts)), TEXTS_AT_ONCE)
        return _normalised([self.model.encode_text(self.shorten(part).to(self.device)) for part in parts])

    def _parts(self, inputs_b: Tensor, at_once: int) -> Sequence[Tensor]:
        """A batch as its device is quick with it: whole on a GPU, a few at once on a CPU."""
        if self.device.type != "cpu":
            return (inputs_b,)
        _keep_freed_memory()
        return torch.split(inputs_b, max(at_once, 1))


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep what a layer frees for the next one. It gives large blocks back to the system, which clears the
    pages of the next ones, a third of the time of a batch; once it has freed one of this size, it keeps those that are
    smaller, and twice as much in all (`M_MMAP_THRESHOLD` in mallopt(3)). Other allocators do not mind.
    """
    torch.empty(KEPT_BYTES, dtype=torch.uint8)


def _normalised(parts_pd: Sequence[Tensor]) -> Tensor:
    """Rows of length 1, float32 on the CPU; made so there, since bfloat16 knows a length to 1 in 256 only."""
    return F.normalize(torch.cat([part.float().cpu() for part in parts_pd]), dim=-1)


def load_model(settings: ModelSettings, seed: int) -> LoadedModel:
    """The model that the settings name, with its weights; from scratch they are drawn from `seed`.

    The base model of an evaluation is the same call. Raises TrainingError for an unknown name or tag, weights that do
    not fit, or weights that cannot be fetched.
    """
    tag = _known_tag(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = _create(settings, None if _is_packaged(settings) else settings.pretrained or None)
            if _is_packaged(settings):
                STARTS[settings.name].load(model)
        except (RuntimeError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise TrainingError(_why_not_loaded(settings, tag, error)) from error
    return _loaded(model, settings)


def rebuild_model(
    settings: ModelSettings,
    state: dict[str, Tensor],
    prepare: Callable[[LoadedModel], LoadedModel] = lambda loaded: loaded,
) -> LoadedModel:
    """The model of these settings, prepared as for its training, with a checkpoint's weights; nothing is fetched."""
    _known_tag(settings)
    model = _create(settings, None)
    if model.logit_bias is None and any(name.endswith("logit_bias") for name in state):
        model.logit_bias = nn.Parameter(torch.zeros_like(model.logit_scale))
    loaded = prepare(_loaded(model, settings))
    loaded.model.load_state_dict(state)
    return loaded


def set_start(loaded: LoadedModel, settings: TrainSettings, loss: Loss) -> None:
    """Set where scale and bias start, in place: the settings' temperature for towers that were no pair, the loss's own
    scale and bias for a model that lacks the bias which the loss needs, and the fixed scale, if any, which stays.
    """
    model = loaded.model
    with torch.no_grad():
        if not loaded.is_pair:
            model.logit_scale.fill_(1 / settings.temperature).log_()
        if loss.starts_at is not None and model.logit_bias is None:
            scale, bias = loss.starts_at(settings.batch_size)
            model.logit_scale.fill_(scale).log_()
            model.logit_bias = nn.Parameter(torch.full_like(model.logit_scale, bias))
        if settings.fixed_scale:
            model.logit_scale.requires_grad_(False).fill_(settings.fixed_scale).log_()


def clamp_scale(model: Any) -> None:
    """Keep exp(logit_scale) at 100 or below, in place (CLIP, arXiv 2103.00020, section 2.5)."""
    with torch.no_grad():
        model.logit_scale.clamp_(max=MAX_LOG_SCALE)


@cache
def _register_own_models() -> None:
    open_clip.add_model_config(MODELS_DIR)


def _known_tag(settings: ModelSettings) -> dict[str, Any]:
    """open_clip's description of the pre-trained tag; empty for a file or from scratch. Raises TrainingError."""
    _register_own_models()
    if settings.name in STARTS:
        register(settings.name)
    if open_clip.get_model_config(settings.name) is None:
        raise TrainingError(
            f"no model {settings.name!r}: set model.name to hubbleclip-tiny, {', '.join(STARTS)} "
            "or one of open_clip.list_models()"
        )
    tag: dict[str, Any] = open_clip.pretrained.get_pretrained_cfg(settings.name, settings.pretrained) or {}
    if settings.pretrained and not (tag or _is_packaged(settings) or Path(settings.pretrained).is_file()):
        own = [PACKAGES] if settings.name in STARTS else []
        tags = ", ".join(own or open_clip.list_pretrained_tags_by_model(settings.name)) or "none; leave it empty"
        raise TrainingError(
            f"no weights {settings.pretrained!r} for {settings.name}: "
            f"set model.pretrained to a checkpoint file or a tag ({tags})"
        )
    return tag


def _is_packaged(settings: ModelSettings) -> bool:
    return settings.name in STARTS and settings.pretrained == PACKAGES


def _create(settings: ModelSettings, pretrained: str | None) -> Any:
    """Build the architecture. Tags such as `openai` need the activation that they were trained with."""
    tag = open_clip.pretrained.get_pretrained_cfg(settings.name, settings.pretrained) or {}
    with _without_warnings():
        return open_clip.create_model(
            settings.name,
            pretrained=pretrained,
            pretrained_text=False,
            force_quick_gelu=bool(tag.get("quick_gelu", False)),
            force_preprocess_cfg=(
                STARTS[settings.name].preprocess
                if settings.name in STARTS
                else {key: tag[key] for key in ("mean", "std") if key in tag}
            ),
        )


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence open_clip's warning on the root logger that a model is new: here that is meant."""
    root = logging.getLogger()
    root.addFilter(_is_error)
    try:
        yield
    finally:
        root.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _padding_id(model: Any) -> int | None:
    """A text encoder of Hugging Face masks its padding and takes any length; open_clip's take their whole context."""
    text = getattr(model, "text", None)
    return int(text.config.pad_token_id) if isinstance(text, HFTextEncoder) else None


def _loaded(model: Any, settings: ModelSettings) -> LoadedModel:
    preprocess = open_clip.get_model_preprocess_cfg(model)
    size = preprocess["size"]
    tokenizer = open_clip.get_tokenizer(settings.name)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        image_size=size if isinstance(size, int) else size[0],
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        context_length=tokenizer.context_length,
        padding_id=_padding_id(model),
        settings=settings,
    )


def _why_not_loaded(settings: ModelSettings, tag: dict[str, Any], error: Exception) -> str:
    detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    if tag:
        return (
            f"the weights {settings.pretrained!r} of {settings.name} cannot be fetched ({detail}): "
            "go online once, or set model.pretrained to a checkpoint file"
        )
    weights = settings.pretrained or "a new model"
    return f"{weights} does not load as {settings.name} ({detail}): set model.name to the model that the weights are of"
