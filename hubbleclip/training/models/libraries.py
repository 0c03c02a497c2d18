"""Keep a short command from importing the optional libraries of open_clip that its model does not use."""

from __future__ import annotations

import sys
from pathlib import Path

from hubbleclip.config.model import OPEN_CLIP_CONFIG
from hubbleclip.training.runs import BASE

USED_BY = {"timm": '"timm_', "transformers": '"hf_', "huggingface_hub": '"hf_'}
"""For each library, the start of those keys of a model's configuration that need it."""


def hide_unused_libraries(run_dir: Path) -> None:
    """Make this process unable to import those libraries of `USED_BY` that the model of a run does not need.

    open_clip imports these libraries if they are installed, which takes 1.2 s, and works without them. The model hub is
    not needed, because the weights are those of the run.
    """
    path = run_dir / BASE / OPEN_CLIP_CONFIG
    config = path.read_text(encoding="utf-8") if path.is_file() else "".join(USED_BY.values())
    for name, key in USED_BY.items():
        if key not in config:
            # Python raises ModuleNotFoundError for a module that is None here.
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
