"""Embed the texts of one command in a separate process, while the command opens the index and the catalog.

In a search without a server, the imports of torch and open_clip take most of the time. The separate process does these
imports in parallel on another core. It also imports less than the command would, because it only loads one model.
"""

from __future__ import annotations

import gc
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hubbleclip.core.layout import Layout

if TYPE_CHECKING:
    from hubbleclip.search.stores.base import Floats

USED_BY = {"timm": '"timm_', "transformers": '"hf_', "huggingface_hub": '"hf_'}
"""For each optional library of open_clip, a string in the configurations of the models that need this library."""


@dataclass(kw_only=True)
class TextsAhead:
    """Texts that another process embeds with the model of a run."""

    run: str
    texts: Sequence[str]
    process: subprocess.Popen[bytes]

    @cached_property
    def features(self) -> dict[str, Floats]:
        """Feature (d,) of each text; empty if the process failed. The first access waits until the process ends."""
        import numpy as np  # noqa: PLC0415 - the process starts before this one imports anything slow

        written, _ = self.process.communicate()
        return {} if self.process.returncode else dict(zip(self.texts, np.load(io.BytesIO(written)), strict=True))


def embed_ahead(layout: Layout, texts: Sequence[str]) -> TextsAhead | None:
    """Start a process that embeds texts with the model of the index; None without texts or without an index."""
    try:
        run = json.loads(layout.current_index.read_bytes())["run"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not texts:
        return None
    words = [sys.executable, "-P", "-m", "hubbleclip.search.embedding_process", str(layout.absolute(run)), *texts]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return TextsAhead(run=run, texts=texts, process=process)


def hide_unused_libraries(run_dir: Path) -> None:
    """Make the import of a library in `USED_BY` fail, unless the model of a run needs this library.

    open_clip imports these libraries if they are installed, which takes 1.2 s, but it also works without them.
    """
    from hubbleclip.config.model import OPEN_CLIP_CONFIG  # noqa: PLC0415
    from hubbleclip.training.runs import BASE  # noqa: PLC0415

    path = run_dir / BASE / OPEN_CLIP_CONFIG
    config = path.read_text(encoding="utf-8") if path.is_file() else "".join(USED_BY.values())
    for name, key in USED_BY.items():
        if key not in config:
            # Python raises ModuleNotFoundError for a module that is None here.
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def main() -> None:
    """Embed the given texts by the model of the given run, and write their features to standard output."""
    gc.disable()  # garbage collection would take 0.7 s and free only objects of the libraries
    import numpy as np  # noqa: PLC0415

    from hubbleclip.search.embedding import QueryModel  # noqa: PLC0415

    run_dir, texts = Path(sys.argv[1]), sys.argv[2:]
    hide_unused_libraries(run_dir)
    model = QueryModel(run_dir)
    np.save(sys.stdout.buffer, np.stack([model.embed_text(text) for text in texts]))
    gc.freeze()  # shortens the garbage collection at exit; the command waits for the exit


if __name__ == "__main__":
    main()
