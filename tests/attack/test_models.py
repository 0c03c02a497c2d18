"""Attacks by a stranger's model: code, sizes, compressed weights, and configurations that are changed at random."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.attack import model_folders
from tests.attack.table import Attacks

pytestmark = [pytest.mark.slow, pytest.mark.attack]


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("a model's folder with a Python file", model_folders.load_with_code),
        ("a checkpoint that unpacks to 8 GB", model_folders.load_inflated),
    ],
)
def test_a_hostile_model_is_refused_in_one_line(name: str, load, tmp_path: Path, attacks: Attacks) -> None:
    assert "Error: " in attacks.call(name, load, tmp_path, deadline_s=120)


@pytest.mark.parametrize("num", [5, pytest.param(400, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", model_folders.MAKERS)
def test_a_mutated_configuration_is_a_line_or_a_model(name: str, num: int, tmp_path: Path, attacks: Attacks) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    arguments = (name, tmp_path, num, num)
    outcome = attacks.call(f"{num} mutations of {name}", model_folders.load_mutations, *arguments, deadline_s=1200)
    assert outcome.endswith("no code"), outcome
