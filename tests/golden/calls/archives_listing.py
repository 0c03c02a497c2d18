"""Names for the calls that list an archive: makers of observations and archives, a choice of files, a check."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hubbleclip.archives.check.probe import Finding, Measured, Probe
from hubbleclip.archives.mast.client import Criteria, ResultPage
from hubbleclip.archives.mast.product_selection import select_products
from hubbleclip.config.settings import ArchiveSettings, FetchSettings, TileSettings
from hubbleclip.missions.archive import PinnedFile
from hubbleclip.missions.hst import HST
from hubbleclip.missions.jwst import JWST
from tests.archives.conftest import archive_at, make_transport, observation
from tests.archives.test_choice import file_of
from tests.archives.test_choice import observation as visited
from tests.archives.test_windows import Server
from tests.bad_server import give
from tests.golden.plain import without
from tests.made_archive import MadeArchive, hst_archive, made_pins

__all__ = [
    "JWST",
    "FetchSettings",
    "Measured",
    "PinnedFile",
    "SimpleNamespace",
    "TileSettings",
    "give",
    "make_transport",
]
__all__ += ["Server", "choose", "findings", "observation", "pinned", "probe", "ranges"]


def choose(*visits: Any, taken: Collection[str] = (), **settings: Any) -> list[Any]:
    """The files chosen for visits of (observation, kinds and sizes of files, columns), and the reasons of the others."""
    owners = [visited(name, **dict(*more)) for name, _, *more in visits]
    files = [
        (owner, *text.split(":")) for owner, visit in zip(owners, visits, strict=True) for text in visit[1].split()
    ]
    rows = [file_of(owner, kind, **({"size": int(size[0])} if size else {})) for owner, kind, *size in files]
    asked = ArchiveSettings.model_validate(settings)
    products, rejections = select_products(owners, rows, asked, HST, {"hst:12675": frozenset(taken)})
    return [[one.file_name for one in products], {one.entity_id: f"{one.reason}: {one.detail}" for one in rejections}]


def pinned(**about: Any) -> PinnedFile:
    return PinnedFile(**{"proposal": "", "obs_id": "", "uri": "mast:a", "size_bytes": 1, "preview_uri": ""} | about)


def probe(rows: Callable[[Criteria], list[Any]] = lambda _: [], **given: Any) -> Probe:
    """A probe that gets these rows for each query, with attributes that other checks set."""
    made = Probe(archive_at("http://h", Path(), name="hst"), HST.pins, None)
    mast = SimpleNamespace(observations=lambda query, **more: ResultPage(rows=rows(query | more), total=9))
    for name, value in {"mast": mast, **given}.items():
        setattr(made, name, value)
    return made


def ranges(whole: bytes, sent: list[str]) -> Any:
    """A transport of one file by ranges; `sent` gets those that are requested."""

    def get(_: str, headers: Mapping[str, str], limit: int) -> Any:
        first, last = map(int, headers["Range"].removeprefix("bytes=").split("-"))
        sent.append(f"{first}-{last}, at most {limit}")
        given = {"Content-Range": f"bytes {first}-{last}/{len(whole)}"}
        return SimpleNamespace(headers=given, content=whole[first : last + 1])

    return SimpleNamespace(get=get)


def findings(
    check: Callable[[Probe], Iterator[Finding]],
    edit: Callable[[MadeArchive], object] = lambda _: None,
    given: Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[Any]:
    """What one check finds at a made archive after an edit, with attributes of the probe that earlier checks set."""
    with hst_archive() as world:
        pins = made_pins(world)
        edit(world)
        archive = archive_at(world.url, Path(), **{"name": "hst", "attempts": 1} | settings)
        about = {name: getattr(archive, name) for name in ("mast", "settings", "transport", "mission")}
        about |= {"pins": pins, "fetch": archive.transport.fetch, "files": {"file": pins.file}, **(given or {})}
        made = probe(**about)
        found = [[one.level.name, one.what, one.found] for one in check(made)]
    return without([*found, *made.abstract_sources, *filter(None, [made.num_in_all])], (world.host, "HOST"))
