"""Which builds of torch `make setup` installs."""

import re
import socket
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from tools.install_torch import CPU_INDEX, CUDA_SIZE, SetupError, answers, is_installed, make_plan, pinned

ROOT = Path(__file__).parents[1]
WANTED = pinned((ROOT / "constraints.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("choice", "system", "has_driver", "is_reachable", "index", "is_size_said"),
    [
        ("auto", "Linux", False, True, CPU_INDEX, False),
        ("auto", "Linux", False, False, None, True),
        ("auto", "Linux", True, True, None, True),
        ("cpu", "Linux", True, True, CPU_INDEX, False),
        ("cuda", "Linux", False, True, None, True),
        ("auto", "Darwin", False, True, None, False),
        ("cpu", "Darwin", False, False, None, False),
    ],
)
def test_cpu_builds_are_installed_where_there_is_no_driver(
    choice: str, system: str, has_driver: bool, is_reachable: bool, index: str | None, is_size_said: bool
) -> None:
    plan = make_plan(choice, system, has_driver, is_reachable)
    assert plan.extra_index == index
    assert (CUDA_SIZE in plan.note) == is_size_said
    assert "\n" not in plan.note


def test_a_choice_that_cannot_be_met_is_an_error() -> None:
    with pytest.raises(SetupError, match=re.escape(CPU_INDEX)):
        make_plan("cpu", "Linux", False, False)
    with pytest.raises(SetupError, match="TORCH=gpu is none of auto, cpu, cuda"):
        make_plan("gpu", "Linux", False, True)


def test_both_packages_are_pinned_and_users_may_have_later_ones() -> None:
    assert [one.partition("==")[0] for one in WANTED] == ["torch", "torchvision"]
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert [one for one in dependencies if re.fullmatch(r"torch>=[\d.]+", one)]


def test_an_installed_version_of_any_build_is_kept() -> None:
    assert is_installed([f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "torchvision")])
    assert not is_installed(["torch==0.0.1"])
    assert not is_installed(["no-such-package==1.0"])


def test_an_index_that_does_not_answer_in_time_is_not_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}/", limit_s=0.2)
    assert not answers("http://127.0.0.1:1/", limit_s=5)
