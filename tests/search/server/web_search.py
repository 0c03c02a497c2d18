"""The search that the tests of the server ask, its service, and pictures to upload."""

import struct
import zlib

from hubbleclip.search.engine import Search
from hubbleclip.search.server.search_service import SearchService

EVIL = '<script>document.title = "owned"</script>"><img src=x onerror=alert(1)>'
"""Title and investigator of the proposal 7, each tile of which is drawn as a ring."""


def service_of(search: Search, **changes: object) -> SearchService:
    return SearchService(search=search, **({"explain": lambda tile_id: {"tile_id": tile_id}} | changes))


def png_of(width: int, height: int, color_type: int, rows: bytes) -> bytes:
    """A PNG with the given compressed rows, whatever its header says."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
