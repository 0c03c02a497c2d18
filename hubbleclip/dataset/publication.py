"""What others need to use a dataset: a card, Croissant metadata, an index of the sky."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from hubbleclip.dataset.directory import Row


def write_files(folder: Path, description: Row, manifest: pa.Table) -> None:
    """Write them beside the shards."""
