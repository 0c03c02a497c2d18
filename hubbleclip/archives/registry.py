"""The archives by name. A new archive is one entry here and one module beside this one."""

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
    """Import the local archive only when it is used."""
    from hubbleclip.archives.local import open_local  # noqa: PLC0415 - imports astropy, which the others do not need

    return open_local(settings, fetch, layout)


ARCHIVES: dict[str, Opener] = {
    **dict.fromkeys(MISSIONS, MastArchive), "simulated": MastArchive, "local": _open_local
}  # fmt: skip
"""Constructors by `archive.name`. The simulated archive is queried by the same code as MAST; only its URLs differ."""


def open_archive(settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> Archive:
    """Open the archive that the settings name.

    Parameters
    ----------
    settings
        `archive` section of the settings; `name` selects the archive.
    fetch
        `fetch` section: rate limit, timeouts, retries.
    layout
        Folders of the profile, for raw responses and fetched files.

    Returns
    -------
    Archive
        The archive; no request is sent yet.

    Raises
    ------
    SettingsError
        If the name is unknown, or a setting that the archive needs is missing.

    """
    opener = ARCHIVES.get(settings.name)
    if opener is None:
        raise SettingsError(f"no archive {settings.name!r}: set archive.name to one of {', '.join(sorted(ARCHIVES))}")
    return opener(settings, fetch, layout)
