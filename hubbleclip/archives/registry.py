"""The archives by name. A new one is one entry here and one file beside."""

from __future__ import annotations

from collections.abc import Callable

from hubbleclip.archives.base import Archive
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.layout import Layout
from hubbleclip.missions import MISSIONS

Opener = Callable[[ArchiveSettings, FetchSettings, Layout], Archive]


def _open_local(settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> Archive:
    from hubbleclip.archives.local import open_local  # noqa: PLC0415 - brings astropy, which the others need not

    return open_local(settings, fetch, layout)


ARCHIVES: dict[str, Opener] = {
    **dict.fromkeys(MISSIONS, MastArchive), "simulated": MastArchive, "local": _open_local
}  # fmt: skip
"""The archive of every mission is MAST's; the simulated one has MAST's API, so only its URLs differ."""


def open_archive(settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> Archive:
    """The archive that the settings name. Raises SettingsError for an unknown name or a missing folder."""
    opener = ARCHIVES.get(settings.name)
    if opener is None:
        raise SettingsError(f"no archive {settings.name!r}: set archive.name to one of {', '.join(sorted(ARCHIVES))}")
    return opener(settings, fetch, layout)
