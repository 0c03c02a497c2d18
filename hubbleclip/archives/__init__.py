"""Where a mission's data come from: one protocol, and an archive a file."""

from hubbleclip.archives.base import Archive, fetch_products
from hubbleclip.archives.registry import ARCHIVES, open_archive

__all__ = ["ARCHIVES", "Archive", "fetch_products", "open_archive"]
