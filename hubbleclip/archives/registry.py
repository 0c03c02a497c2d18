"""The archives by name. A new one is one entry here and one file beside."""

from __future__ import annotations

from collections.abc import Callable

from hubbleclip.archives.base import Archive
from hubbleclip.archives.mast.archive import HstArchive
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.layout import Layout

Opener = Callable[[ArchiveSettings, FetchSettings, Layout], Archive]


def _open_local(settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> Archive:
    from hubbleclip.archives.local import open_local  # noqa: PLC0415 - brings astropy, which the others need not

    return open_local(settings, fetch, layout)


ARCHIVES: dict[str, Opener] = {"hst": HstArchive, "simulated": HstArchive, "local": _open_local}
"""The simulated archive is asked by the very code that asks MAST; only its addresses differ."""


def open_archive(settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> Archive:
    """The archive that the settings name. Raises SettingsError for an unknown name or a missing folder."""
    opener = ARCHIVES.get(settings.name)
    if opener is None:
        raise SettingsError(f"no archive {settings.name!r}: set archive.name to one of {', '.join(sorted(ARCHIVES))}")
    return opener(settings, fetch, layout)
