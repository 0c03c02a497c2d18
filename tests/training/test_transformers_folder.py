"""Folders of transformers as bases: the features are those of transformers, and training starts from them."""

import json

import pytest
import timm
import torch
from hub_cache import WORDS, write_tokenizer
from safetensors.torch import load_file, save_file
from squares_dataset import MODEL, TRAIN

from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.checkpoints import load_base_model
from hubbleclip.training.export.transformers_clip import write_transformers
from hubbleclip.training.loop import train
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.models.trained_model import load_folder
from hubbleclip.training.tracking import read_metrics

TEXTS = ["we saw a spiral galaxy", "the comet shines", ""]


@timm.models.register_model
def vit_32_patch8_siglip_32(pretrained=False, **changes):
    """The image tower of a made SigLIP."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    named = {name: changes[name] for name in ("num_classes", "global_pool")}
    return timm.models.VisionTransformer(**sizes, class_token=False, **named)


@pytest.fixture(scope="module", params=["gelu", "gelu_pytorch_tanh"])
def siglip(request, tmp_path_factory):
    """A folder and the model of transformers that it has."""
    from transformers import SiglipConfig, SiglipModel

    folder = tmp_path_factory.mktemp("siglip")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = sizes | {"image_size": 32, "patch_size": 8, "hidden_act": request.param}
    text = sizes | {
        "hidden_act": request.param,
        "vocab_size": len(WORDS),
        "max_position_embeddings": 12,
        "projection_size": 32,
    }
    torch.manual_seed(3)
    model = SiglipModel(SiglipConfig(vision_config=vision, text_config=text)).eval()
    with torch.no_grad():
        for weight in model.parameters():  # norms and biases too, so that each has to be in its place
            weight.add_(0.1 * torch.randn_like(weight))
        model.logit_scale.fill_(4.0)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder, model


def test_a_siglip_has_the_features_of_transformers(siglip):
    folder, model = siglip
    loaded = load_folder(folder)
    tiles = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        image = model.get_image_features(pixel_values=(tiles.expand(-1, 3, -1, -1) / 255 - 0.5) / 0.25).pooler_output
        text = model.get_text_features(input_ids=loaded.tokenizer(TEXTS)).pooler_output
    # open_clip's image towers compute an exact GELU, which differs from the approximation by at most 5e-4
    image_tolerance = 1e-5 if model.config.vision_config.hidden_act == "gelu" else 2e-3
    for ours, theirs, tolerance in (
        (loaded.encode_images(tiles), image, image_tolerance),
        (loaded.encode_texts(TEXTS), text, 1e-5),
    ):
        assert torch.allclose(ours, torch.nn.functional.normalize(theirs, dim=-1), atol=tolerance)
    assert (loaded.model.logit_scale.item(), loaded.context_length) == (4.0, 12)
    stretched = load_model(ModelSettings(name=f"local-dir:{folder}", context_length=40), 1)
    assert torch.allclose(stretched.encode_texts(TEXTS), loaded.encode_texts(TEXTS), atol=1e-6)
    one, other = stretched.encode_texts(["galaxy " * 20 + word for word in ("spiral", "comet")])
    assert not torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("num_files", [1, 2])
def test_a_clip_has_the_features_of_its_export_whatever_weights_are_beside_it(num_files, tmp_path):
    loaded = load_model(MODEL, 5)
    write_transformers(loaded, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({name: torch.zeros_like(one) for name, one in state.items()}, tmp_path / "model_ema.safetensors")
    if num_files > 1:
        (tmp_path / "model.safetensors").unlink()
        file_of = {name: f"model-{number % num_files}.safetensors" for number, name in enumerate(state)}
        for file in set(file_of.values()):
            save_file({name: one for name, one in state.items() if file_of[name] == file}, tmp_path / file)
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": file_of}))
    again = load_folder(tmp_path)
    tiles = torch.arange(2 * 32 * 32).remainder(251).to(torch.uint8).view(2, 1, 32, 32)
    assert torch.allclose(again.encode_images(tiles), loaded.encode_images(tiles), atol=1e-6)
    assert torch.allclose(again.encode_texts(TEXTS), loaded.encode_texts(TEXTS), atol=1e-6)


def test_training_starts_from_a_folder_of_transformers_and_the_run_keeps_it(siglip, dataset_dir, tmp_path):
    folder, _ = siglip
    settings = TRAIN.model_copy(update={"loss": "siglip", "steps": 1})
    run_dir = train(dataset_dir, tmp_path, ModelSettings(name=f"local-dir:{folder}"), settings, code_version="test")
    assert read_metrics(run_dir)[0]["logit_scale"] == pytest.approx(torch.tensor(4.0).exp().item())
    assert torch.equal(load_base_model(run_dir).encode_texts(TEXTS), load_folder(folder).encode_texts(TEXTS))


def edited(section: str, key: str, value: object):
    """Change a value of a configuration."""

    def change(text: bytes) -> bytes:
        config = json.loads(text)
        config[section][key] = value
        return json.dumps(config).encode()

    return change


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("config.json", lambda _: b'{"model_type": "bert"}', "kind bert, and not clip or siglip"),
        ("model.safetensors", None, r"no weights in model\.safetensors"),
        ("model.safetensors", lambda data: data[:2000], "does not load .*: export it again"),
        ("preprocessor_config.json", lambda _: b" " * (1 << 20) + b"{}", "more than 1048576"),
        ("config.json", edited("vision_config", "hidden_act", 0), "hidden_act"),
        ("config.json", edited("text_config", "vocab_size", 50_000), "50000 tokens instead of 49408"),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_line(name, damage, problem, tmp_path):
    write_transformers(load_model(MODEL, 5), tmp_path)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    with pytest.raises(TrainingError, match=problem) as caught:
        load_folder(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
