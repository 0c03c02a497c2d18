"""Servers, responses and disks for the calls in `archives_files.json`."""

from typing import Any

import requests

from tests.archives.test_cadc import votable
from tests.bad_server import BadServer, give, give_range

__all__ = ["BadServer", "disks", "error_of", "give", "give_range", "response", "votable"]


def response(status: int, **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return made


def error_of(status: int) -> requests.HTTPError:
    return requests.HTTPError(response=response(status))


def disks(*free_bytes: float) -> Any:
    """A module like `shutil` whose disk has so many free bytes, asked one time after the other."""
    left = list(free_bytes)
    usage = lambda _: type("Usage", (), {"free": left.pop(0) if len(left) > 1 else left[0]})  # noqa: E731
    return type("Shutil", (), {"disk_usage": usage})
