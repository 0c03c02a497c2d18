"""A stretched context keeps the features of short texts and reads longer ones."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from squares_dataset import MODEL

from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.export.open_clip_folder import is_longer_than_open_clip, write_open_clip
from hubbleclip.training.models.builder import load_model, rebuild_model
from hubbleclip.training.models.text_context import KEPT_POSITIONS, insert_positions, stretch_positions
from tests.attack.model_folders import make_text_tower

SHORT_TEXTS = ["a spiral galaxy", "dust lanes and star clusters in a barred spiral galaxy"]


def test_the_first_20_positions_and_the_last_one_are_kept_and_the_others_interpolated() -> None:
    old_ld = torch.arange(77.0)[:, None] * torch.ones(1, 3)
    new_ld = stretch_positions(old_ld, 248)
    assert torch.equal(new_ld[:KEPT_POSITIONS], old_ld[:KEPT_POSITIONS])
    assert torch.equal(new_ld[-1], old_ld[-1])
    steps = torch.diff(new_ld[KEPT_POSITIONS:, 0])
    assert torch.allclose(steps, torch.full_like(steps, 56 / 227), atol=1e-5)


KINDS = {
    "made-clip": {},
    "made-pe": {},
    "made-mobileclip2": {"no_causal_mask": True},
    "made-last": {"no_causal_mask": True, "pool_type": "last", "proj_bias": True},
}


@pytest.fixture
def named(tmp_path):
    """The settings of models with a text tower of its own: name -> settings."""
    config = json.loads((Path(__file__).parent / "models" / "squares-vit.json").read_text())
    for name, changes in KINDS.items():
        config["custom_text"] = name != "made-clip"
        config["text_cfg"] = config["text_cfg"] | {"context_length": 32} | changes
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    return {name: ModelSettings(name=name, pretrained="") for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_a_text_tower_of_its_own_is_stretched_to_400_and_exported(name, named, tmp_path) -> None:
    plain, stretched = (load_model(named[name].model_copy(update={"context_length": size}), 1) for size in (0, 400))
    assert stretched.context_length == 400
    texts = [*SHORT_TEXTS, "", "galaxy " * 300 + "pulsar", "galaxy " * 300]
    feat_nd = stretched.encode_texts(texts)
    assert torch.allclose(plain.encode_texts(texts[:3]), feat_nd[:3], atol=1e-6)
    before, after = (model.encode_texts(["star " * 25]) for model in (plain, stretched))
    assert torch.allclose(before, after, atol=1e-6) == ("no_causal_mask" in KINDS[name])
    assert not torch.allclose(feat_nd[3], feat_nd[4], atol=1e-6)
    alone = torch.cat([stretched.encode_texts([text]) for text in texts])  # with less padding
    assert torch.allclose(alone, feat_nd, atol=1e-6)
    padded = stretched.model.eval().encode_text(stretched.tokenizer(texts), normalize=True)
    assert torch.allclose(padded, feat_nd, atol=1e-6)
    assert torch.equal(*plain.encode_texts(texts[3:]))  # what is behind the old context is not read
    rebuilt = rebuild_model(stretched.settings, stretched.model.state_dict())
    assert torch.equal(rebuilt.encode_texts(texts), feat_nd)
    (tmp_path / "exported").mkdir()
    write_open_clip(stretched, tmp_path / "exported")
    exported = f"local-dir:{tmp_path / 'exported'}"
    again, longer = (load_model(ModelSettings(name=exported, context_length=size), 1) for size in (0, 450))
    assert torch.allclose(again.encode_texts(texts), feat_nd, atol=1e-6)
    assert torch.allclose(longer.encode_texts(texts[:3]), feat_nd[:3], atol=1e-6)
    assert is_longer_than_open_clip(stretched) == ("no_causal_mask" in KINDS[name])
    if "no_causal_mask" in KINDS[name]:  # open_clip would read 400 tokens of padding
        with pytest.raises(TypeError, match="own_context_length"):
            open_clip.create_model(exported)


def test_each_position_of_a_stretched_tower_that_reads_padding_is_one_that_was_trained() -> None:
    old_ld = torch.arange(64.0)[:, None] * torch.ones(1, 3)
    new_ld = insert_positions(old_ld, 400)
    assert torch.equal(torch.cat([new_ld[:63], new_ld[-1:]]), old_ld)
    assert new_ld[63:-1, 0].tolist() == pytest.approx(torch.linspace(KEPT_POSITIONS, 62, 336).tolist(), abs=1e-4)
    assert torch.equal(insert_positions(old_ld, 64), old_ld)
    short_l = insert_positions(old_ld[:16], 30)[15:-1, 0]  # of a short context, the first half is kept
    assert short_l.tolist() == pytest.approx(torch.linspace(8, 14, 14).tolist(), abs=1e-4)


def test_a_text_tower_of_transformers_is_not_stretched(tmp_path) -> None:
    folder = make_text_tower(tmp_path / "made")
    with pytest.raises(TrainingError, match="text towers of open_clip only"):
        load_model(ModelSettings(name=f"local-dir:{folder}", context_length=400), 1)


def test_a_shorter_context_is_refused() -> None:
    with pytest.raises(TrainingError, match="less than the model's 24"):
        load_model(MODEL.model_copy(update={"context_length": 20}), 1)


def test_the_context_of_the_model_itself_changes_nothing() -> None:
    plain, same = load_model(MODEL, 1), load_model(MODEL.model_copy(update={"context_length": 24}), 1)
    assert torch.equal(plain.model.positional_embedding, same.model.positional_embedding)
    texts = [*SHORT_TEXTS, "galaxy " * 100]
    assert torch.allclose(plain.encode_texts(texts), same.encode_texts(texts), atol=1e-6)
