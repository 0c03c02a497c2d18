"""A small search engine in memory: real pictures with a WCS, features of pixels, and counts of words."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from hubbleclip.core.errors import SearchError
from hubbleclip.images.wcs import TileGeometry, tile_geometries
from hubbleclip.search.query import Cone, Filters, GroupBy, Hit, Hits, Mode, Query, Term, TermKind
from hubbleclip.search.server.occlusion import Occlusion, cover_squares, occlusion_of
from hubbleclip.search.server.protocol import Answer, IndexStatus, Points, TileRecord
from hubbleclip.search.server.service import Service
from hubbleclip.search.sky import find_cone

SIZE_PX, SCALE_ARCSEC = 64, 0.05
KINDS = (
    ("spiral galaxy", "GALAXY;SPIRAL", "Galaxies"),
    ("globular cluster", "STELLAR CLUSTER", "Stellar Populations"),
    ("planetary nebula", "NEBULA;PLANETARY", "Stellar Physics"),
    ("Mars", "SOLAR SYSTEM;PLANET", "Solar System"),
)
INSTRUMENTS = (("WFC3/UVIS", "F606W"), ("ACS/WFC", "F814W"), ("WFC3/IR", "F160W"))
EVIL = '<script>document.title = "owned"</script>"><img src=x onerror=alert(1)> \x1b[2J'


def picture_of(kind: int, seed: int) -> np.ndarray:
    """A blurred object of one of four shapes on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIZE_PX * 1j, -1 : 1 : SIZE_PX * 1j]
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    shapes = (
        np.exp(-3 * r) * (1 + np.cos(2 * angle - 9 * r)),
        np.exp(-4 * r) + (rng.random(r.shape) > 0.97) * np.exp(-2 * r),
        np.exp(-60 * (r - 0.5) ** 2),
        (r < 0.6) * 1.0,
    )
    return np.clip(200 * shapes[kind] + rng.normal(20, 6, r.shape), 0, 255).astype(np.uint8)


def wcs_at(ra_deg: float, dec_deg: float, rotation_deg: float) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra_deg, dec_deg], [SIZE_PX / 2 + 0.5] * 2
    c, s, scale = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg)), SCALE_ARCSEC / 3600
    wcs.wcs.cd = [[-scale * c, scale * s], [scale * s, scale * c]]
    return wcs


def geometry_at(ra_deg: float, dec_deg: float, rotation_deg: float) -> TileGeometry:
    (geometry,) = tile_geometries(wcs_at(ra_deg, dec_deg, rotation_deg), [(0, 0)], SIZE_PX)
    return geometry


class SmallEngine:
    """Satisfies SearchEngine for tests. Proposals have four tiles of one kind each."""

    def __init__(self, folder: Path, num: int = 48, *, is_simulated: bool = True, archive: str = "simulated") -> None:
        self.folder, self.is_simulated, self.archive = folder, is_simulated, archive
        folder.mkdir(parents=True, exist_ok=True)
        self.records = {record.tile_id: record for record in (self._record(n) for n in range(num))}
        self.ids = list(self.records)
        self.feat = np.array([self._feature_of(Image.open(self.records[i].picture)) for i in self.ids])

    @staticmethod
    def _unit(pixels: np.ndarray) -> np.ndarray:
        centred = pixels - pixels.mean()
        return centred / max(np.linalg.norm(centred), 1e-12)

    def _feature_of(self, picture: Image.Image) -> np.ndarray:
        return self._unit(np.asarray(picture.convert("L").resize((8, 8)), float).ravel())

    def _record(self, n: int) -> TileRecord:
        kind, (instrument, filter_) = n // 4 % 4, INSTRUMENTS[n % 3]
        tile_id = hashlib.sha256(str(n).encode()).hexdigest()[:32]
        picture = self.folder / f"{tile_id}.png"
        # The tile is stored with the header's last row first.
        Image.fromarray(picture_of(kind, n)).save(picture)
        ra_deg, dec_deg = (n // 4 * 47.3) % 360 + 0.002 * (n % 4), -70 + n // 4 * 11.7
        geometry = geometry_at(ra_deg, dec_deg, 17.0 * n)
        name, target_class, category = KINDS[kind]
        facts: dict[str, Any] = {
            "proposal_id": f"{self.archive}:{10000 + n // 4}",
            "split": ("train", "val", "test")[n // 4 % 3],
            "title": EVIL if n == 5 else f"A survey of the {name} number {n // 4}",
            "target_name": f"TARGET-{n // 4}",
            "target_class": target_class,
            "instrument": instrument,
            "detector": instrument.partition("/")[2],
            "filter": filter_,
            "exposure_s": 100.0 + n,
            "observed_at": datetime(2004 + n % 12, 3, 1, tzinfo=UTC),
            "ra_deg": geometry.ra_deg,
            "dec_deg": geometry.dec_deg,
            "pixel_scale_arcsec": geometry.pixel_scale_arcsec,
            "corners_deg": geometry.corners_deg,
            "wcs": geometry.wcs,
            "size_px": SIZE_PX,
            "category": category,
            "cycle": 12 + n // 16,
            "pi": EVIL if n == 5 else "Ada Quill",
            "obs_id": f"j8xi0x{n:03d}",
            "product_uri": f"mast:HST/product/j8xi0x{n:03d}_drz.fits",
            "abstract": f"We propose to image a {name}. " * 6,
        }
        return TileRecord(tile_id=tile_id, facts=facts, picture=picture)

    def answer(self, query: Query) -> Answer:
        return Answer(self.run(query), self.status())

    def run(self, query: Query) -> Hits:
        admitted = [n for n, tile_id in enumerate(self.ids) if admits(query.filters, self.records[tile_id].facts)]
        by_model, by_words = self._by_model(query), self._by_words(query)
        ranks = [
            {n: rank for rank, n in enumerate(sorted(admitted, key=lambda n: (-s[n], n)), 1)}
            for s in (by_model, by_words)
        ]
        score = {Mode.MODEL: by_model, Mode.WORDS: by_words}.get(query.mode)
        if score is None:
            score = np.array([sum(1 / (60 + r.get(n, 1000)) for r in ranks) for n in range(len(self.ids))])
        order = sorted(admitted, key=lambda n: (-score[n], n)) if query.terms else admitted
        groups: dict[Any, list[int]] = {}
        for n in order:
            facts = self.records[self.ids[n]].facts
            key = n if query.group_by is GroupBy.NONE else facts["proposal_id"]
            groups.setdefault(key, []).append(n)
        found = list(groups.values())
        hits = [
            Hit(
                tile_id=self.ids[g[0]],
                score=float(score[g[0]]),
                num_folded=len(g) - 1,
                model_rank=ranks[0][g[0]] if query.terms and query.mode is not Mode.WORDS else None,
                words_rank=ranks[1][g[0]] if query.terms and query.mode is not Mode.MODEL else None,
                facts=dict(self.records[self.ids[g[0]]].facts),
            )
            for g in found[query.offset : query.offset + query.k]
        ]
        return Hits(hits=tuple(hits), num_admitted=len(admitted), has_more=len(found) > query.offset + query.k)

    def _by_model(self, query: Query) -> np.ndarray:
        score = np.zeros(len(self.ids))
        for term in query.terms:
            score += term.weight * (self.feat @ self._feature(term))
        return score

    def _feature(self, term: Term) -> np.ndarray:
        if term.kind is TermKind.TILE:
            self.tile(term.value)
            return self.feat[self.ids.index(term.value)]
        if term.kind is TermKind.IMAGE:
            with Image.open(term.value) as picture:
                return self._feature_of(picture)
        if term.kind is TermKind.PROPOSAL:
            return self.feat[[r.facts["proposal_id"] for r in self.records.values()].index(term.value)]
        return self._unit(self._by_words(Query(terms=(Term(kind=TermKind.TEXT, value=term.value),))) @ self.feat + 1e-9)

    def _by_words(self, query: Query) -> np.ndarray:
        score = np.zeros(len(self.ids))
        for term in query.terms:
            if term.kind is TermKind.TEXT:
                wanted = set(re.findall(r"\w+", term.value.lower()))
                texts = [f"{r.facts['title']} {r.facts['target_name']}".lower() for r in self.records.values()]
                score += term.weight * np.array([len(wanted & set(re.findall(r"\w+", t))) for t in texts])
        return score

    def tile(self, tile_id: str) -> TileRecord:
        if tile_id not in self.records:
            raise SearchError(f"there is no tile {tile_id!r}")
        return self.records[tile_id]

    def status(self) -> IndexStatus:
        return IndexStatus(
            num_tiles=len(self.ids),
            is_simulated=self.is_simulated,
            model="pixels-8x8",
            run_id="run-1",
            dataset_digest="ab" * 16,
            index_digest="cd" * 16,
        )

    def points(self) -> Points:
        facts = [self.records[i].facts for i in self.ids]
        centred = self.feat - self.feat.mean(axis=0)
        axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
        return Points(
            tile_ids=self.ids,
            ra_deg=np.array([f["ra_deg"] for f in facts]),
            dec_deg=np.array([f["dec_deg"] for f in facts]),
            pca_n2=centred @ axes.T,
            labels={name: [f[name] for f in facts] for name in ("instrument", "category")},
        )

    def facets(self) -> dict[str, list[tuple[Any, int]]]:
        found: dict[str, list[tuple[Any, int]]] = {}
        for name in ("instrument", "band", "split", "category", "cycle"):
            values = [record.facts["filter" if name == "band" else name] for record in self.records.values()]
            found[name] = sorted(((v, values.count(v)) for v in set(values)), key=lambda pair: (-pair[1], str(pair[0])))
        return found

    def occlusion(self, tile_id: str, text: str) -> Occlusion:
        image_yx = np.asarray(Image.open(self.tile(tile_id).picture))
        feat = np.array([self._feature_of(Image.fromarray(one)) for one in cover_squares(image_yx)])
        return occlusion_of(feat @ self._feature(Term(kind=TermKind.TEXT, value=text)))

    def phrases(self, tile_id: str) -> dict[str, list[tuple[str, float]]]:
        own = self.tile(tile_id).facts["target_class"]
        return {"objects": sorted(((c, float(c == own)) for _, c, _ in KINDS), key=lambda pair: -pair[1])}

    def resolve_target(self, name: str, radius_deg: float | None = None) -> Cone:
        return find_cone(name, radius_deg, self._target)

    def _target(self, name: str) -> tuple[float, float, float] | None:
        facts = next((r.facts for r in self.records.values() if r.facts["target_name"].lower() == name.lower()), None)
        return (facts["ra_deg"], facts["dec_deg"], 0.0) if facts else None


def admits(filters: Filters, facts: dict[str, Any]) -> bool:
    """The filters, spelled out."""
    lists = {
        "instrument": filters.instruments,
        "detector": filters.detectors,
        "filter": filters.bands,
        "split": filters.splits,
        "proposal_id": filters.proposals,
        "category": filters.categories,
        "cycle": filters.cycles,
    }
    observed, where = facts["observed_at"].date(), SkyCoord(facts["ra_deg"], facts["dec_deg"], unit="deg")
    checks = [not wanted or facts[name] in wanted for name, wanted in lists.items()]
    checks += [filters.pi is None or filters.pi.lower() in facts["pi"].lower()]
    checks += [filters.observed_from is None or observed >= filters.observed_from]
    checks += [filters.observed_to is None or observed <= filters.observed_to]
    checks += [filters.exposure_min_s is None or facts["exposure_s"] >= filters.exposure_min_s]
    checks += [filters.exposure_max_s is None or facts["exposure_s"] <= filters.exposure_max_s]
    checks += [filters.moving_target is None or filters.moving_target == facts["target_class"].startswith("SOLAR")]
    if filters.cone:
        centre = SkyCoord(filters.cone.ra_deg, filters.cone.dec_deg, unit="deg")
        checks += [bool(where.separation(centre).deg <= filters.cone.radius_deg)]
    return all(checks)


def fits_header(text: str) -> fits.Header:
    return fits.Header.fromstring(text, sep="\n")


def service_of(engine: SmallEngine, **options: object) -> Service:
    return Service(engine=engine, **options)
