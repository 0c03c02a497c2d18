"""Names for the calls of commands and flows, of which a module has a `fail` of its own."""

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console

__all__ = ["Console", "Path", "SimpleNamespace", "datetime"]


def throw(error: BaseException) -> None:
    raise error
