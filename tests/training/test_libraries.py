"""The optional libraries of open_clip are hidden from a process whose model does not use them, and from no other."""

import json
import subprocess
import sys

import pytest

from hubbleclip.config.settings import ModelSettings
from hubbleclip.training.models.builder import architecture


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("ViT-B-16", ["timm", "transformers", "huggingface_hub"]),
        ("hubbleclip-tiny", ["transformers", "huggingface_hub"]),
        ("ViT-B-16-SigLIP", []),
        ("roberta-ViT-B-32", ["timm"]),
        (None, []),
    ],
)
def test_only_libraries_that_the_model_does_not_use_are_hidden(name: str | None, hidden: list[str], tmp_path) -> None:
    if name:
        (tmp_path / "base").mkdir()
        config = {"model_cfg": architecture(ModelSettings(name=name, pretrained=""))}
        (tmp_path / "base" / "open_clip_config.json").write_text(json.dumps(config))
    code = f"""
import sys
from pathlib import Path
from hubbleclip.training.models.libraries import hide_unused_libraries
hide_unused_libraries(Path({str(tmp_path)!r}))
print(*(name for name in ("timm", "transformers", "huggingface_hub") if sys.modules.get(name, 0) is None))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == hidden
