"""Files by astroquery's download: one after another, without a check that they are complete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from astroquery.mast import Observations

NAME = "astroquery Observations.download_file"


def download_all(url: str, uris: Sequence[str], folder: Path) -> None:
    """Download every data URI from the server at `url` into `folder`."""
    for uri in uris:
        status, message, _ = Observations.download_file(
            uri,
            local_path=folder / uri.rpartition("/")[2],
            base_url=f"{url}/api/v0.1/Download/file",
            cache=False,
            verbose=False,
        )
        if status != "COMPLETE":
            raise RuntimeError(f"{uri}: {status} {message}")
