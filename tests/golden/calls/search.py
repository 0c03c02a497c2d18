"""Short makers of files for the calls in `search.json`."""

import io
import subprocess
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
from astropy.io import fits as pyfits
from fastapi import FastAPI
from starlette.testclient import TestClient
from uvicorn.server import ServerState

from hubbleclip.search.embedding import QueryModel
from hubbleclip.search.embedding_process import TextsAhead
from hubbleclip.search.server.application import create_app
from hubbleclip.search.server.pictures import cut_out
from hubbleclip.search.server.run_server import BoundedProtocol, configure
from hubbleclip.search.server.search_service import SearchService
from hubbleclip.search.server.security import Access
from hubbleclip.search.stores.embedded import EmbeddedStore


def cut(folder: Path, data: np.ndarray[Any, Any], **facts: Any) -> Any:
    """Write a FITS file with this data, cut out the pixels of a tile and return the HDU."""
    pyfits.PrimaryHDU(data).writeto(path := folder / f"{len([*folder.iterdir()])}.fits")
    values = {"chip": 0, "y0": 0, "x0": 0, "size_px": 2, "shrink": None, "product_uri": "a"} | facts
    return pyfits.open(io.BytesIO(cut_out(path, values)))[0]


def model_ahead(folder: Path, text: str) -> QueryModel:
    """A model without weights, for which another process has embedded a text as 1."""
    np.save(path := folder / "features.npy", np.ones((1, 1)))
    process = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
    (model := QueryModel(folder)).ahead = TextsAhead(run="", texts=[text], process=process)
    return model


def png_start(width: int, height: int) -> bytes:
    """The header of a PNG file and the start of its data."""
    head = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + zlib.crc32(head).to_bytes(4) + b"\0\0\0\0IDAT"


def store_of(folder: Path, *groups: str) -> EmbeddedStore:
    """A store with a tile for each letter, appended group by group; each feature is an axis of its own."""
    made, axes = EmbeddedStore(folder, "m"), iter(np.eye(sum(map(len, groups))))
    for group in groups:
        made.append([*group], np.stack([next(axes) for _ in group]))
    return made


def service_of(search: Any = None, **more: Any) -> SearchService:
    """A service; without a search, it has a search with these values."""
    values = {"has_model": False, "is_damaged": False} | more
    return SearchService(search=search or SimpleNamespace(**values), explain=more.get("explain", dict))


def client(service: SearchService, **access: Any) -> TestClient:
    """A client of a server."""
    return TestClient(create_app(service, Access(**access)), "http://localhost")


def get(service: SearchService, url: str) -> tuple[int, str]:
    """Status and text of an answer of the server."""
    answer = client(service).get(url)
    return answer.status_code, answer.text


def protocol(*parts: bytes) -> BoundedProtocol:
    """A connection on which a client has sent these parts; its loop and transport only note what they are asked for."""
    loop = MagicMock(create_task=lambda task: task.close() or MagicMock())
    made = BoundedProtocol(configure(FastAPI()), ServerState(), {}, loop)
    made.connection_made(MagicMock())
    for part in parts:
        made.data_received(part)
    return made
