"""Embed the texts of one command in a process of its own, while the command opens index and catalog.

Importing torch and open_clip takes most of the time of a search without a server; the new process does it at the same
time on another core. It also imports less than the command would, because all that it does is to load one model.
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
"""Optional libraries of open_clip, each with a text that a model's configuration contains if it needs the library."""


@dataclass(kw_only=True)
class TextsAhead:
    """Texts that another process embeds with the model of a run."""

    run: str
    texts: Sequence[str]
    process: subprocess.Popen[bytes]

    @cached_property
    def features(self) -> dict[str, Floats]:
        """Feature (d,) of each text, after the process has ended; empty if the process failed."""
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
    """Make the import of a library of `USED_BY` fail if the model of a run does not need the library.

    open_clip imports these libraries if they are installed, which takes 1.2 s. It also works without them.
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
    gc.freeze()  # shortens the garbage collection at the end of the process, for which the command waits


if __name__ == "__main__":
    main()
