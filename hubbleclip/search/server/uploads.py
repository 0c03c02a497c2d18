"""PNG, JPEG and FITS files that users upload as queries: checks, size limits and temporary storage."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tempfile
import threading
import zlib
from collections import OrderedDict
from pathlib import Path

import psutil
from PIL import Image, UnidentifiedImageError

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import TooLargeError, chunks

MAX_FILES, MAX_TOTAL_BYTES = 64, 512 * 2**20
"""Maximum number, and maximum total size in bytes, of the uploads that are kept."""
MAX_PIXELS, MAX_SIDE_PX, MAX_UNPACKED_BYTES = 40_000_000, 20_000, 512 * 2**20
SIGNATURES = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"SIMPLE  =": ".fits", b"\x1f\x8b": ".fits.gz"}
"""Suffix of the stored file for each accepted file type, by the first bytes of the file."""
PICTURES = {".png": "PNG", ".jpg": "JPEG"}
PREFIX = "hubbleclip-uploads-"
"""Start of the name of an upload folder; the id of the server's process follows."""


class UploadError(HubbleclipError):
    """An upload is refused or no longer exists."""


class UploadStore:
    """Keeps the newest uploads in a temporary folder, and finds an upload by its digest; older uploads are deleted."""

    def __init__(self) -> None:
        for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}[0-9]*-*"):
            if not psutil.pid_exists(int(left.name.removeprefix(PREFIX).split("-")[0])):
                shutil.rmtree(left, ignore_errors=True)  # the server of this folder was killed
        self._folder = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-")
        self._paths: OrderedDict[str, Path] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, content: bytes) -> str:
        """Check and store an upload, and return its digest; delete the oldest uploads if a limit is exceeded."""
        suffix = check_upload(content)
        digest = hashlib.sha256(content).hexdigest()[:32]
        with self._lock:
            path = self._paths.setdefault(digest, Path(self._folder.name) / f"{digest}{suffix}")
            path.write_bytes(content)
            self._paths.move_to_end(digest)
            while (
                len(self._paths) > MAX_FILES
                or sum(one.stat().st_size for one in self._paths.values() if one.exists()) > MAX_TOTAL_BYTES
            ):
                self._paths.popitem(last=False)[1].unlink(missing_ok=True)
        return digest

    def path(self, digest: str) -> Path:
        """Find the file of an upload by its digest; UploadError if it no longer exists."""
        path = self._paths.get(digest)
        if path is None:
            raise UploadError("the uploaded picture is no longer here: upload it again")
        return path

    def close(self) -> None:
        """Delete all uploads."""
        self._folder.cleanup()


def check_upload(content: bytes) -> str:
    """Check the type and the number of pixels of an upload without decoding it, and return its suffix."""
    suffix = next((s for signature, s in SIGNATURES.items() if content.startswith(signature)), None)
    if suffix is None:
        raise UploadError("only PNG, JPEG and FITS files can be queries")
    if suffix in PICTURES:
        _check_picture(content, PICTURES[suffix])
    elif suffix == ".fits.gz":
        _check_gzip(content)
    return suffix


def _check_picture(content: bytes, form: str) -> None:
    """Refuse a picture that is damaged or has too many pixels; only its header is read."""
    try:
        with Image.open(io.BytesIO(content), formats=[form]) as picture:
            is_large = picture.width * picture.height > MAX_PIXELS or max(picture.size) > MAX_SIDE_PX
    except Image.DecompressionBombError:
        is_large = True
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UploadError("the picture is damaged") from error
    if is_large:
        raise UploadError(f"a picture has at most {MAX_PIXELS:,} pixels, and {MAX_SIDE_PX:,} along a side")


def _check_gzip(content: bytes) -> None:
    """Refuse a compressed file that is damaged, is not FITS, or expands to more than `MAX_UNPACKED_BYTES`."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            first, *_ = (chunk[:9] for chunk in chunks(file.read, MAX_UNPACKED_BYTES))
    except TooLargeError as error:
        raise UploadError(f"a FITS file has at most {MAX_UNPACKED_BYTES >> 20} MiB") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UploadError("the compressed file is damaged") from error
    if first != b"SIMPLE  =":
        raise UploadError("only FITS files may be compressed")
