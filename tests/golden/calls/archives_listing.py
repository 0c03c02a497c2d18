"""Names for the calls that list an archive: makers of observations and archives, a choice of files, a check."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from hubbleclip.archives.check.files import check_preview
from hubbleclip.archives.check.listing import _check_filter
from hubbleclip.archives.check.probe import Finding, Measured, Probe
from hubbleclip.archives.mast.caom_rows import fold_rows
from hubbleclip.archives.mast.client import Criteria, MastClient, PortalSession, ResultPage
from hubbleclip.archives.mast.product_candidates import Candidate, candidate_from_row
from hubbleclip.archives.mast.product_selection import select_products
from hubbleclip.config.settings import ArchiveSettings, FetchSettings, TileSettings
from hubbleclip.core.records import Observation
from hubbleclip.missions.archive import PinnedFile
from hubbleclip.missions.hst import HST
from hubbleclip.missions.jwst import JWST
from hubbleclip.simulator.server.mast_tables import columns_config
from tests.archives.conftest import archive_at, make_transport, observation
from tests.archives.test_choice import file_of
from tests.archives.test_choice import observation as visited
from tests.archives.test_mast import queries_of, table
from tests.archives.test_proposal_source import bulk
from tests.archives.test_windows import SPAN, Server
from tests.bad_server import BadServer, give
from tests.golden.plain import without
from tests.made_archive import MadeArchive, hst_archive, made_pins

__all__ = [
    "JWST",
    "FetchSettings",
    "PinnedFile",
    "SimpleNamespace",
    "TileSettings",
    "bulk",
    "give",
    "make_transport",
    "observation",
    "queries_of",
    "table",
]
Image.new("L", (9, 9)).save(jpeg := io.BytesIO(), "JPEG")
JPEG, PORTAL = jpeg.getvalue(), "astroquery.mast.discovery_portal.PortalAPI"


def visit(number: int, proposal: int = 12675, **row: Any) -> Observation:
    return observation(obs_id=f"ibol0{number}010", obsid=number, proposal_id=proposal, **row)


def listed(number: int, size: float | None = None, kind: str = "SCIENCE", uri: str = "") -> dict[str, Any]:
    """A row of a file of `visit(number)`."""
    name = uri or f"ibol0{number}010_drz.fits"
    return {"productType": kind, "dataURI": name, "parent_obsid": number, "size": size}


def drz(place: int | str, ra_deg: float, **row: Any) -> tuple[Any, ...]:
    """A visit with a combined image, for `choose`."""
    return f"ibol{place:0>2}010", "drz", {"s_ra": ra_deg, "s_dec": 0, **row}


def candidate(**row: Any) -> Candidate | None:
    return candidate_from_row({"productType": "SCIENCE", "dataURI": "mast:ibol02010_drz.fits", **row}, HST.products)


def folded(*rows: dict[str, Any]) -> Observation | None:
    """One observation of these rows, which have the numbers from 0."""
    return fold_rows([{"obs_id": "a", "obsid": n, **row} for n, row in enumerate(rows)], "hst", None, HST.products)


def filtered(names: list[str], *rows: tuple[str, Any]) -> list[Any]:
    """What the check of a filter by these names of instruments finds in rows of (instrument, release date)."""
    given = [{"instrument_name": name, "t_obs_release": date} for name, date in rows]
    return [(one.level.name, one.found) for one in _check_filter(given, {"instrument_name": names})]


def measured(**values: Any) -> Measured:
    sizes = dict.fromkeys(("files_each", "file_bytes", "bytes_per_pixel", "latency_s", "list_s", "bytes_per_s"), 1.0)
    return Measured(**{"num_observations": 1, "page": (1, 1.0), **sizes} | values)


def portal(*bodies: bytes) -> BadServer:
    """MAST's portal, which gives these responses in turn."""
    return BadServer(*map(give, bodies), table={"/portal": give(json.dumps(columns_config("Mast.Caom.Cone")).encode())})


def session(*bodies: bytes) -> PortalSession:
    """The session of a query that gets these responses in turn."""
    left = iter(bodies)
    ask = lambda *_, **__: SimpleNamespace(content=next(left))  # noqa: E731
    return PortalSession(SimpleNamespace(session=SimpleNamespace(headers={}), ask=ask), 9)


def client(**limits: Any) -> MastClient:
    """A client whose requests astroquery sends, or a patch of `PORTAL`."""
    return MastClient("http://h", make_transport(**{"attempts": 1} | limits))


class Repeating(Server):
    """A server that gives all rows for each window."""

    def rows(self, window: Any) -> list[Any]:
        return [{"obsid": n} for n in range(len(self.dates))]

    def num_read(self, promised: int | None) -> int:
        return len([row for page in self.query().pages(SPAN, promised) for row in page])


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
    mast.products_of = given.pop("products_of", None)
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


def gives(path: str, body: bytes, status: int = 200) -> Callable[[MadeArchive], object]:
    """An edit of a made archive, which then gives this response at a path."""
    return lambda world: world.table.update({path: give(body, status)})


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


def previewed(products: str, one: Measured) -> Any:
    """What the check of a sound preview finds, which adds its sizes to those that are measured."""
    about = {"files": {"a": pinned(preview_uri="mast:p.jpg")}, "measured": one}
    return findings(check_preview, gives("/api/v0.1/Download", JPEG), about, products=products)[0][:2]
