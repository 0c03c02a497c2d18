"""Sources of a mission's data: one protocol, and one module or folder per archive."""

from hubbleclip.archives.base import Archive
from hubbleclip.archives.registry import ARCHIVES, open_archive

__all__ = ["ARCHIVES", "Archive", "open_archive"]
