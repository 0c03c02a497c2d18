"""Registry of archives by name. To add an archive, add a module to this folder and an entry to `ARCHIVES`."""

from __future__ import annotations

from collections.abc import Callable

from hubbleclip.archives.base import Archive
from hubbleclip.archives.cadc import CadcArchive
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.id_prefixes import find_registered
from hubbleclip.core.layout import Layout
from hubbleclip.missions import MISSIONS

Opener = Callable[[ArchiveSettings, FetchSettings, Layout], Archive]


def _open_local(settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> Archive:
    """Open the local archive."""
    from hubbleclip.archives.local import LocalArchive  # noqa: PLC0415 - it imports astropy, which is slow

    return LocalArchive(settings, fetch, layout)


ARCHIVES: dict[str, Opener] = {
    **dict.fromkeys((*MISSIONS, "simulated"), MastArchive),
    "cadc": CadcArchive,
    "local": _open_local,
}
"""Constructor of each archive, by `archive.name`.

The simulated archive is queried by the same code as MAST; only the URLs differ.
"""


def open_archive(settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> Archive:
    """Open the archive that the setting `archive.name` selects."""
    return find_registered(ARCHIVES, settings.name, "archive.name")(settings, fetch, layout)
