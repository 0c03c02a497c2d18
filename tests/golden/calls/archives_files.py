"""Servers, clients, responses, files and disks for the calls in `archives_files.json`."""

import pickle
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import requests

from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.http.download import NO_LIMIT_BYTES, BodyInfo, DownloadRequest, Start, _check_headers
from hubbleclip.archives.local import LocalArchive
from hubbleclip.archives.stsci.client import ProposalSource
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.layout import Layout
from hubbleclip.missions import MISSIONS
from tests.archives.conftest import fetch_and_limits, make_transport, sources_of
from tests.archives.test_cadc import votable
from tests.bad_server import FITS as FILE
from tests.bad_server import BadServer, drip, give, give_range

__all__ = ["FILE", "BadServer", "drip", "give", "give_range", "make_transport", "pickle", "sources_of", "votable"]


def response(status: int, **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return made


def error_of(status: int) -> requests.HTTPError:
    return requests.HTTPError(response=response(status))


def disk(*free_bytes: float) -> AbstractContextManager[Any]:
    """A disk whose free bytes are these numbers, one for each call."""
    left = [*free_bytes, free_bytes[-1]]
    return patch("shutil.disk_usage", lambda _: SimpleNamespace(free=left.pop(0) if len(left) > 1 else left[0]))


def written(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def zipped(file: Path, *names: str) -> bytes:
    """A zip file whose members hold their names."""
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return file.read_bytes()


def asked(root: Path, **about: Any) -> DownloadRequest:
    given = {"uri": "mast:x", "file_name": "a.fits", "size_bytes": None, "max_bytes": NO_LIMIT_BYTES} | about
    return DownloadRequest(layout=Layout(root), **given)


def checked(root: Path, at: Start = Start(), /, min_free_gb: float = 0.0, **about: Any) -> int:
    """The largest size of a file, from these headers of a response and fields of the request."""
    wanted = {name: about.pop(name) for name in ("size_bytes", "max_bytes") if name in about}
    info = BodyInfo(**{"is_part": True, "start": 0, "total": 20, "etag": None, "version": ""} | about)
    return _check_headers(make_transport(min_free_gb=min_free_gb), info, at, asked(root, **wanted))


def local(folder: Path, most: int = 20) -> LocalArchive:
    settings = ArchiveSettings(name="local", folder=folder, max_products_per_proposal=most)
    return LocalArchive(settings, FetchSettings(), Layout(folder / "out"))


def texts_at(root: Path, url: str = "http://127.0.0.1:9", name: str = "hst", **changes: Any) -> ProposalSource:
    """A source of proposals; the changes are settings of `archive` or `fetch`, or limits."""
    transport = Transport(*fetch_and_limits(changes))
    settings = ArchiveSettings.model_validate({"name": name, "mast_url": url} | changes)
    return ProposalSource(settings, transport, Layout(root), MISSIONS[name])


def texts_in(root: Path, bulk_list: str) -> ProposalSource:
    """A source of proposals that reads this stored list, without requests."""
    written(Layout(root).raw / "abstracts.cat", bulk_list)
    return texts_at(root, from_raw=True)
