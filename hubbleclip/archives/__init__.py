"""Where a mission's data come from: one protocol, and an archive a file."""

from hubbleclip.archives.base import Archive
from hubbleclip.archives.registry import ARCHIVES, open_archive

__all__ = ["ARCHIVES", "Archive", "open_archive"]
