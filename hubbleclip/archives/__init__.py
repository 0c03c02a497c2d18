"""Archives, the sources of a mission's data: one shared protocol, and one module or folder per archive."""

from hubbleclip.archives.base import Archive
from hubbleclip.archives.registry import ARCHIVES, open_archive

__all__ = ["ARCHIVES", "Archive", "open_archive"]
