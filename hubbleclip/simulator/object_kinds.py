"""Kinds of object that a simulated proposal may observe. The package `objects` draws each kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectKind:
    """Kind of object, e.g. `spiral galaxy`.

    `categories` are the scientific categories that a proposal about it may have. `variants` are subtypes that look
    different. `filters` is a key of FILTER_PLANS. `names` are patterns of catalogue names. `exposure_s` is the range
    of exposure times of an observation, in seconds. `may_be_off_centre` says whether an observation may be offset from
    the centre of the object.
    """

    name: str
    categories: tuple[str, ...]
    variants: tuple[str, ...]
    filters: str = "broad"
    names: tuple[str, ...] = ("NGC {n4}",)
    exposure_s: tuple[int, int] = (400, 2400)
    is_moving: bool = False
    may_be_off_centre: bool = True


_ROWS = (
    ObjectKind(
        name="spiral galaxy",
        categories=("GALAXIES", "UNRESOLVED STELLAR POPULATIONS AND GALAXY STRUCTURE"),
        variants=("grand-design", "barred", "flocculent", "edge-on"),
        names=("NGC {n4}", "UGC {n5}", "ESO {n3}-{n2}", "IC {n4}"),
    ),
    ObjectKind(
        name="elliptical galaxy",
        categories=("GALAXIES", "UNRESOLVED STELLAR POPULATIONS AND GALAXY STRUCTURE"),
        variants=("giant", "lenticular", "shell", "dusty"),
        names=("NGC {n4}", "IC {n4}", "VCC {n4}"),
    ),
    ObjectKind(
        name="galaxy merger",
        categories=("GALAXIES", "STARBURSTS", "Galaxies"),
        variants=("tidal tails", "late stage", "close pair"),
        names=("Arp {n3}", "VV {n3}", "IRAS F{hhmm}{d}{sdd}{mm}", "NGC {n4}"),
    ),
    ObjectKind(
        name="galaxy cluster",
        categories=("COSMOLOGY", "GALAXIES & CLUSTERS"),
        variants=("relaxed", "merging", "arc-rich"),
        names=("Abell {n4}", "MACS J{hhmm}.{d}{sdd}{mm}", "RXC J{hhmm}.{d}{sdd}{mm}"),
    ),
    ObjectKind(
        name="quasar host",
        categories=("AGN/QUASARS", "Massive Black Holes And Their Host Galaxies"),
        variants=("luminous", "disturbed host", "jetted"),
        names=("PG {hhmm}{sdd}{d}", "SDSS J{hhmm}{ss}{sdd}{mm}", "PKS {hhmm}{sdd}{d}", "3C {n3}"),
    ),
    ObjectKind(
        name="globular cluster",
        categories=("STELLAR POPULATIONS", "RESOLVED STELLAR POPULATIONS"),
        variants=("core-collapsed", "massive", "loose"),
        names=("NGC {n4}", "Terzan {n2}", "Palomar {n2}"),
    ),
    ObjectKind(
        name="open cluster",
        categories=("STELLAR POPULATIONS", "RESOLVED STAR FORMATION", "Stellar Populations"),
        variants=("young", "old", "embedded"),
        names=("NGC {n4}", "Berkeley {n2}", "Trumpler {n2}", "Westerlund {n1}"),
    ),
    ObjectKind(
        name="planetary nebula",
        categories=("STELLAR EJECTA", "ISM AND CIRCUMSTELLAR MATTER"),
        filters="nebula",
        variants=("ring", "bipolar", "elliptical", "multipolar"),
        names=("PN G{n3}.{n1}{sdd}.{d}", "NGC {n4}", "Hen 2-{n3}", "M 1-{n2}"),
    ),
    ObjectKind(
        name="supernova remnant",
        categories=("STELLAR EJECTA", "ISM IN EXTERNAL GALAXIES"),
        filters="nebula",
        variants=("balmer shell", "oxygen-rich", "filamentary"),
        names=("SNR {hhmm}{sdd}.{d}", "SNR G{n3}.{n1}{sdd}.{d}", "DEM L{n3}"),
    ),
    ObjectKind(
        name="star-forming nebula",
        categories=("STAR FORMATION", "INTERSTELLAR MEDIUM", "ISM IN EXTERNAL GALAXIES"),
        filters="nebula",
        variants=("pillars", "bubble", "ridge"),
        names=("NGC {n4}", "Sh 2-{n3}", "IC {n4}", "RCW {n3}"),
    ),
    ObjectKind(
        name="planet",
        categories=("SOLAR SYSTEM", "Solar System"),
        filters="planet",
        is_moving=True,
        exposure_s=(5, 60),
        may_be_off_centre=False,
        variants=("Jupiter", "Saturn", "Uranus", "Neptune", "Mars"),
        names=("{variant}",),
    ),
    ObjectKind(
        name="comet",
        categories=("SOLAR SYSTEM", "Solar System"),
        filters="broad",
        is_moving=True,
        exposure_s=(120, 700),
        variants=("long-period", "disintegrating", "short-period"),
        names=("C/{y}-{L}{n1}", "{n3}P", "P/{y}-{L}{n1}"),
    ),
    ObjectKind(
        name="Kuiper belt field",
        categories=("SOLAR SYSTEM", "Solar System"),
        filters="deep",
        is_moving=True,
        exposure_s=(300, 900),
        variants=("cold classical", "scattered", "binary"),
        names=("{y}-{L}{L}{n3}", "TNO-{n6}"),
        may_be_off_centre=False,
    ),
    ObjectKind(
        name="deep field",
        categories=("COSMOLOGY", "GALAXIES", "Galaxies and the IGM"),
        filters="deep",
        exposure_s=(2000, 9000),
        variants=("blank field", "parallel", "protocluster"),
        names=("DEEP-{n3}", "PAR-{n4}", "FIELD-{n2}-{L}"),
        may_be_off_centre=False,
    ),
    ObjectKind(
        name="protoplanetary disk",
        categories=("STAR FORMATION", "Exoplanets and Exoplanet Formation"),
        filters="disk",
        variants=("edge-on", "ringed", "silhouette"),
        names=("HK Tau-{n3}", "PDS {n3}", "LkHa {n3}", "proplyd {n3}-{n3}"),
    ),
    ObjectKind(
        name="stellar jet",
        categories=("STAR FORMATION", "YOUNG STARS AND CIRCUMSTELLAR MATERIAL"),
        filters="jet",
        variants=("knotty", "bow shock", "bipolar"),
        names=("HH {n3}", "HH {n4}", "RNO {n2}"),
    ),
    ObjectKind(
        name="dwarf galaxy",
        categories=("STELLAR POPULATIONS", "GALAXIES", "RESOLVED STELLAR POPULATIONS"),
        variants=("spheroidal", "irregular"),
        names=("UGCA {n3}", "DDO {n3}", "KDG {n3}", "LEDA {n6}"),
    ),
    ObjectKind(
        name="gravitational lens",
        categories=("COSMOLOGY", "GALAXIES & CLUSTERS", "Galaxies"),
        variants=("Einstein ring", "quad", "arc"),
        names=("SDSS J{hhmm}{sdd}{mm}", "HE {hhmm}{sdd}{mm}", "SL2S J{hhmm}{ss}{sdd}{mm}"),
        may_be_off_centre=False,
    ),
)

OBJECT_KINDS: dict[str, ObjectKind] = {kind.name: kind for kind in _ROWS}

# Calibration is not an entry of OBJECT_KINDS, because it has no scene and no renderer.
CALIBRATION = ObjectKind(
    name="calibration",
    categories=("CAL",),
    variants=("dark", "flat"),
    filters="flat",
    names=("{variant}",),
    exposure_s=(1, 900),
    may_be_off_centre=False,
)

# Filters by purpose and camera, in descending order of preference.
FILTER_PLANS: dict[str, dict[str, tuple[str, ...]]] = {
    "broad": {
        "WFC3/UVIS": ("F814W", "F555W", "F438W", "F336W", "F606W", "F275W"),
        "WFC3/IR": ("F160W", "F110W", "F125W", "F140W"),
        "ACS/WFC": ("F814W", "F606W", "F435W", "F555W", "F475W", "F775W"),
        "WFPC2/WFC": ("F814W", "F555W", "F606W", "F450W", "F300W"),
    },
    "deep": {
        "WFC3/UVIS": ("F606W", "F814W", "F438W"),
        "WFC3/IR": ("F160W", "F125W", "F105W", "F140W"),
        "ACS/WFC": ("F606W", "F814W", "F775W", "F850LP", "F435W"),
        "WFPC2/WFC": ("F606W", "F814W", "F450W", "F555W"),
    },
    "nebula": {
        "WFC3/UVIS": ("F656N", "F502N", "F658N", "F673N", "F555W", "F814W"),
        "WFC3/IR": ("F128N", "F164N", "F160W"),
        "ACS/WFC": ("F658N", "F502N", "F550M", "F814W"),
        "WFPC2/WFC": ("F656N", "F502N", "F658N", "F673N", "F555W"),
    },
    "planet": {
        "WFC3/UVIS": ("F467M", "F763M", "F845M", "F502N", "F336W"),
        "WFC3/IR": ("F164N", "F128N", "F110W"),
        "ACS/WFC": ("F550M", "F435W", "F658N", "F775W"),
        "WFPC2/WFC": ("F555W", "F675W", "F450W", "F300W"),
    },
    "disk": {
        "WFC3/UVIS": ("F606W", "F814W", "F656N", "F555W"),
        "WFC3/IR": ("F160W", "F110W", "F128N"),
        "ACS/WFC": ("F606W", "F814W", "F658N", "F435W"),
        "WFPC2/WFC": ("F606W", "F814W", "F656N"),
    },
    "jet": {
        "WFC3/UVIS": ("F673N", "F656N", "F502N", "F814W"),
        "WFC3/IR": ("F164N", "F128N", "F160W"),
        "ACS/WFC": ("F658N", "F502N", "F775W"),
        "WFPC2/WFC": ("F673N", "F656N", "F675W"),
    },
    "flat": {
        "WFC3/UVIS": ("F606W", "F814W"),
        "WFC3/IR": ("F160W", "F125W"),
        "ACS/WFC": ("F606W", "F814W"),
        "WFPC2/WFC": ("F555W", "F814W"),
    },
}
