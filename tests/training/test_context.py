"""A stretched context keeps the features of short texts and reads longer ones."""

import json
from pathlib import Path

import open_clip
import pytest
import torch

from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.export.open_clip_folder import write_open_clip
from hubbleclip.training.models.builder import load_model, rebuild_model
from hubbleclip.training.models.text_context import KEPT_POSITIONS, stretch_positions

TINY = ModelSettings(name="hubbleclip-tiny", pretrained="")
LONG = TINY.model_copy(update={"context_length": 248})
SHORT_TEXTS = ["a spiral galaxy", "dust lanes and star clusters in a barred spiral galaxy"]


def test_the_first_20_positions_and_the_last_one_are_kept_and_the_others_interpolated() -> None:
    old_ld = torch.arange(77.0)[:, None] * torch.ones(1, 3)
    new_ld = stretch_positions(old_ld, 248)
    assert torch.equal(new_ld[:KEPT_POSITIONS], old_ld[:KEPT_POSITIONS])
    assert torch.equal(new_ld[-1], old_ld[-1])
    steps = torch.diff(new_ld[KEPT_POSITIONS:, 0])
    assert torch.allclose(steps, torch.full_like(steps, 56 / 227), atol=1e-5)


def test_texts_of_at_most_20_tokens_have_equal_features() -> None:
    plain, stretched = load_model(TINY, 1), load_model(LONG, 1)
    assert (plain.context_length, stretched.context_length) == (77, 248)
    assert torch.allclose(plain.encode_texts(SHORT_TEXTS), stretched.encode_texts(SHORT_TEXTS), atol=1e-6)


@pytest.fixture
def custom(tmp_path):
    """Settings of a model with a text tower of its own, by whether each token attends to earlier ones only."""
    config = json.loads((Path(__file__).parent / "models" / "squares-vit.json").read_text()) | {"custom_text": True}
    config["text_cfg"]["context_length"] = 32
    for name, is_causal in (("made-pe", True), ("made-mobileclip", False)):
        config["text_cfg"]["no_causal_mask"] = not is_causal
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    return ModelSettings(name="made-pe", pretrained=""), ModelSettings(name="made-mobileclip", pretrained="")


def test_a_causal_text_tower_of_its_own_is_stretched_to_400_and_exported(custom, tmp_path) -> None:
    plain, stretched = (load_model(custom[0].model_copy(update={"context_length": size}), 1) for size in (0, 400))
    texts = [*SHORT_TEXTS, "galaxy " * 300 + "pulsar", "galaxy " * 300]
    feat_nd = stretched.encode_texts(texts)
    assert torch.allclose(plain.encode_texts(SHORT_TEXTS), feat_nd[:2], atol=1e-6)
    assert not torch.allclose(feat_nd[2], feat_nd[3], atol=1e-6)
    (tmp_path / "exported").mkdir()
    write_open_clip(stretched, tmp_path / "exported")
    again = load_model(ModelSettings(name=f"local-dir:{tmp_path / 'exported'}"), 1)
    assert torch.allclose(again.encode_texts(texts), feat_nd, atol=1e-6)


def test_a_text_tower_that_reads_the_padding_is_not_stretched(custom) -> None:
    with pytest.raises(TrainingError, match="causal text towers only"):
        load_model(custom[1].model_copy(update={"context_length": 400}), 1)


def test_words_behind_the_old_context_change_the_features() -> None:
    plain, stretched = load_model(TINY, 1), load_model(LONG, 1)
    texts = ["galaxy " * 100, "galaxy " * 100 + "pulsar"]
    for loaded, is_equal in ((plain, True), (stretched, False)):
        one_d, other_d = loaded.encode_texts(texts)
        assert torch.allclose(one_d, other_d, atol=1e-6) is is_equal


def test_a_stretched_model_is_rebuilt_from_its_weights() -> None:
    loaded = load_model(LONG, 1)
    again = rebuild_model(LONG, loaded.model.state_dict())
    assert torch.equal(loaded.encode_texts(SHORT_TEXTS), again.encode_texts(SHORT_TEXTS))


def test_a_shorter_context_is_refused() -> None:
    with pytest.raises(TrainingError, match="less than the model's 77"):
        load_model(TINY.model_copy(update={"context_length": 20}), 1)


def test_the_context_of_the_model_itself_changes_nothing() -> None:
    plain, same = load_model(TINY, 1), load_model(TINY.model_copy(update={"context_length": 77}), 1)
    assert torch.equal(plain.model.positional_embedding, same.model.positional_embedding)
    texts = [*SHORT_TEXTS, "galaxy " * 100]
    assert torch.allclose(plain.encode_texts(texts), same.encode_texts(texts), atol=1e-6)
