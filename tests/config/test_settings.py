"""Settings: frozen, layered, and with errors that name the setting."""

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from hubbleclip.config import settings as module
from hubbleclip.config.settings import PROFILES_DIR, Section, Settings, read_settings
from hubbleclip.config.toml import settings_toml
from hubbleclip.core.errors import SettingsError
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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train": {"stepps": 3}}, r"no setting train.stepps: did you mean train.steps\?"),
        ({"tile": {"size_px": 3}}, r"no setting tile.size_px: did you mean tiles.size_px\?"),
        ({"steps": 3}, r"no setting steps: did you mean train.steps\?"),
        ({"train.steps": 3}, '"train.steps" is quoted: write it without quotes'),
        ({"quux": 3}, r"no setting quux \(`hubbleclip settings` lists all"),
        ({"quux": {}}, "no setting quux "),
        ({"tiles": 3}, "tiles is a section of settings: write --set tiles.NAME=VALUE"),
        ({"model": "ViT-B-32"}, "model is a section of settings: write --set model.NAME=VALUE"),
        (
            {"tiles": {"colour": True}, "fetch": {"keep_fits": False}},
            "^tiles.colour needs .*: set fetch.keep_fits = true$",
        ),
        ({"train": {"lr_scheduler": "const-cooldown"}}, "^train.lr_scheduler = .*: set both$"),
        ({"tiles": {"views": "native"}}, r"""tiles.views takes a list: write --set 'tiles.views=\["native"\]'"""),
        ({"tiles": {"views": "[native, aim]"}}, r"""--set 'tiles.views=\["native", "aim"\]'"""),
        ({"train": {"steps": 0}}, "setting train.steps: .*greater than or equal to 1"),
        ({"train": {"seed": -1}}, "setting train.seed: .*greater than or equal to 0"),
        ({"tiles": {"size_px": "large"}}, "setting tiles.size_px"),
        ({"tiles": {"stretch": "foo"}}, "setting tiles.stretch: .*'asinh', 'linear' or 'zscale'"),
        ({"tiles": {"views": []}}, "tiles.views is empty: name at least one of native"),
        ({"shards": {"caption_kinds": ["summary", "abstract"]}}, "the main caption cannot be 'summary'"),
        ({"shards": {"caption_kinds": ["abstract", "phrases"]}, "captions": {"backend": ""}}, r"set captions\.backend"),
        ({"tiles": {"size_px": 512, "overlap_px": 512}}, "tiles.overlap_px = 512 must be below tiles.size_px = 512"),
    ],
)
def test_wrong_setting_is_named(overrides: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_settings("demo", overrides)


def test_what_is_not_used_is_not_refused() -> None:
    tiles = {"size_px": 128, "overlap_px": 128, "stride_px": 64}
    assert read_settings("demo", {"tiles": tiles}).tiles.stride_px == 64


def test_unknown_profile_lists_the_known() -> None:
    with pytest.raises(
        SettingsError, match=r"did you mean hubble\? use one of demo, hubble, jwst, local, paper, siglip2"
    ):
        read_settings("hubbel")


def test_broken_toml_is_one_line() -> None:
    module.SITE_FILE.write_text("[train\n")
    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        read_settings("demo")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().tiles.size_px = 3  # type: ignore[misc]


def test_digest_changes_with_the_settings_and_with_nothing_else() -> None:
    first = read_settings("demo").tiles
    assert first.digest() == read_settings("demo", {"data": "elsewhere"}).tiles.digest()
    assert first.digest() != read_settings("demo", {"tiles": {"size_px": 256}}).tiles.digest()


def test_a_setting_that_was_added_later_changes_a_digest_only_when_it_is_used() -> None:
    class Older(Section):
        seed: int = 1

    class Newer(Older):
        added_later = frozenset({"mission"})
        mission: str = "hst"

    assert Older().digest() == Newer().digest() != Newer(mission="jwst").digest()
