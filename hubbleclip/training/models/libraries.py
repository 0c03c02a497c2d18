"""Keep a short command from importing the optional libraries of open_clip that its model does not use."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from hubbleclip.config.model import ModelSettings

USED_BY = {"timm": '"timm_', "transformers": '"hf_', "huggingface_hub": '"hf_'}
"""For each library, the start of those keys of a model's configuration that need it."""


def hide_unused_libraries(settings: ModelSettings) -> None:
    """Make this process, from now on, unable to import those libraries of `USED_BY` that a model does not use.

    open_clip imports these libraries if they are installed, which takes 1.2 s, and works without them. The model hub is
    not needed, because the weights are those of a run.
    """
    open_clip = importlib.util.find_spec("open_clip")
    folders = [Path(one) / "model_configs" for one in (open_clip and open_clip.submodule_search_locations) or ()]
    files = (folder / f"{settings.name.replace('/', '-')}.json" for folder in (Path(__file__).parent, *folders))
    config = next((path.read_text(encoding="utf-8") for path in files if path.is_file()), "".join(USED_BY.values()))
    for name, key in USED_BY.items():
        if key not in config:
            # Python raises ModuleNotFoundError for a module that is None here.
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
