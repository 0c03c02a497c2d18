"""Settings: frozen, layered, and with errors that name the setting."""

import tomllib
from pathlib import Path

import pytest

from hubbleclip.config import settings as module
from hubbleclip.config.settings import PROFILES_DIR, Settings, read_settings
from hubbleclip.config.toml import settings_toml
from tools import write_settings


@pytest.fixture(autouse=True)
def no_site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SITE_FILE", tmp_path / "hubbleclip.toml")


@pytest.mark.parametrize("profile", [p.stem for p in PROFILES_DIR.glob("*.toml")])
def test_every_profile_is_valid_and_knows_its_folder(profile: str) -> None:
    settings = read_settings(profile, {"data": "somewhere"})
    assert settings.root == Path("somewhere") / profile


def test_the_listings_of_settings_are_those_of_their_declarations() -> None:
    old = [path.name for path, text in write_settings.written().items() if path.read_text(encoding="utf-8") != text]
    assert not old, f"{', '.join(old)} differs from the declarations: run `make settings`"


@pytest.mark.parametrize("values", [{}, {"keep_local": False, "evaluation": {"shuffled_steps": 0}}])
def test_the_listed_settings_are_read_back(values: dict) -> None:
    settings = read_settings("demo", values)
    assert Settings(**tomllib.loads(settings_toml(settings))) == settings


def test_layers_win_in_order(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hubbleclip")
    module.SITE_FILE.write_text("[train]\nsteps = 11\nseed = 11\nwarmup_steps = 11\nlog_every = 11\n")
    own = module.SITE_FILE.with_name("mine.toml")
    own.write_text("[train]\nsteps = 12\nseed = 12\nwarmup_steps = 12\n")
    monkeypatch.setenv("HUBBLECLIP_TRAIN__STEPS", "13")
    monkeypatch.setenv("HUBBLECLIP_TRAIN__SEED", "13")
    train = read_settings(str(own), {"train": {"steps": 14}}).train
    assert (train.steps, train.seed, train.warmup_steps, train.log_every) == (14, 13, 12, 11)
    assert caplog.messages == [f"{module.SITE_FILE} changes train"]
