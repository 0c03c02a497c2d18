"""Hand-made tiles on the sky, and slow obvious spherical geometry to check the fast one with."""

import hashlib
import math

from valid_catalog import make

from hubbleclip.core.records import Observation, Proposal, SplitAssignment, Tile
from hubbleclip.dataset.splits.material import Material

WORDS = [f"word{i}" for i in range(60)]
TEXT = " ".join(WORDS)
LIKE_C = {"a": TEXT, "b": " ".join([*WORDS[16:], *(f"b{i}" for i in range(16))]), "c": " ".join(WORDS[8:])}
"""Texts of three proposals: those of `a` and `b` are similar to that of `c`, and not to each other."""


def square(ra_deg, dec_deg, side_arcsec, roll_deg=0.0):
    """Corners of a square on the sky: steps east and north of its centre, in three dimensions."""
    ra, dec, step = (
        math.radians(ra_deg),
        math.radians(dec_deg),
        math.tan(math.radians(side_arcsec / 3600) / math.sqrt(2)),
    )
    centre = (math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec))
    east = (-math.sin(ra), math.cos(ra), 0.0)
    north = cross(centre, east)
    corners = []
    for quarter in range(4):
        angle = math.radians(roll_deg + 45 + 90 * quarter)
        x, y, z = (
            c + step * (math.sin(angle) * e + math.cos(angle) * n) for c, e, n in zip(centre, east, north, strict=True)
        )
        corners += [math.degrees(math.atan2(y, x)) % 360, math.degrees(math.atan2(z, math.hypot(x, y)))]
    return corners


def stepped(ra_deg, dec_deg, east_arcsec, north_arcsec):
    """The point so far from another, for small steps."""
    ra, dec, step = math.radians(ra_deg), math.radians(dec_deg), math.radians(1 / 3600)
    centre = (math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec))
    east = (-math.sin(ra), math.cos(ra), 0.0)
    x, y, z = (
        c + step * (east_arcsec * e + north_arcsec * n)
        for c, e, n in zip(centre, east, cross(centre, east), strict=True)
    )
    return math.degrees(math.atan2(y, x)) % 360, math.degrees(math.atan2(z, math.hypot(x, y)))


def tile(name, proposal, corners=(), obs_id=None):
    """A tile whose place is known by its corners alone."""
    unknown = dict.fromkeys(("instrument", "ra_deg", "dec_deg", "pixel_scale_arcsec", "wcs", "unit"))
    tile_id = hashlib.sha256(str(name).encode()).hexdigest()[:32]
    of = {"tile_id": tile_id, "proposal_id": proposal, "obs_id": obs_id or f"obs of {proposal}", "product_uri": "u"}
    return make(Tile, corners_deg=list(corners), **of, **unknown)


def plan_of(one, split, group="g" * 16, reason=None):
    """The assignment of a tile, by its id."""
    return {one.tile_id: SplitAssignment(tile_id=one.tile_id, group_id=group, split=split, reason=reason)}


def observation(obs_id, proposal="p", target=None, is_moving=False):
    """An observation without a place."""
    unknown = dict.fromkeys(("ra_deg", "dec_deg", "footprint", "target_class", "title"))
    of = {"obs_id": obs_id, "proposal_id": proposal, "target_name": target, "is_moving": is_moving}
    return make(Observation, **of, **unknown)


def proposal(proposal_id, abstract=None):
    texts = {"title": f"Title of {proposal_id}", "abstract": abstract or f"Abstract of {proposal_id}"}
    unknown = dict.fromkeys(("cycle", "category", "pi"))
    return make(Proposal, proposal_id=proposal_id, number=proposal_id, source="made", **texts, **unknown)


def cross(a, b):
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def vectors(corners_deg):
    pairs = [(math.radians(corners_deg[i]), math.radians(corners_deg[i + 1])) for i in range(0, len(corners_deg), 2)]
    return [(math.cos(d) * math.cos(r), math.cos(d) * math.sin(r), math.sin(d)) for r, d in pairs]


def edges(polygon):
    return [(polygon[i], polygon[(i + 1) % 4]) for i in range(4)]


def is_inside(point, polygon):
    """On the same side of every edge."""
    sides = [dot(cross(a, b), point) for a, b in edges(polygon)]
    return all(side > 0 for side in sides) or all(side < 0 for side in sides)


def arcs_cross(a, b, c, d):
    """Each arc's ends lie on both sides of the other's great circle (both arcs short and near each other)."""
    ab, cd = cross(a, b), cross(c, d)
    return dot(ab, c) * dot(ab, d) < 0 and dot(cd, a) * dot(cd, b) < 0


def distance_rad(p, a, b):
    """From a point to an arc: to its great circle where the foot is on the arc, else to the nearer end."""
    normal = cross(a, b)
    length = math.sqrt(dot(normal, normal))
    if dot(cross(normal, a), p) > 0 > dot(cross(normal, b), p):
        return abs(math.asin(dot(normal, p) / length))
    return min(2 * math.asin(math.dist(p, end) / 2) for end in (a, b))


def slow_gap_arcsec(one_deg, other_deg):
    """Distance of two quadrangles, 0 where they overlap."""
    one, other = vectors(one_deg), vectors(other_deg)
    if any(is_inside(p, other) for p in one) or any(is_inside(p, one) for p in other):
        return 0.0
    if any(arcs_cross(*e, *f) for e in edges(one) for f in edges(other)):
        return 0.0
    corners = [(p, e) for p in one for e in edges(other)] + [(p, e) for p in other for e in edges(one)]
    return math.degrees(min(distance_rad(p, *e) for p, e in corners)) * 3600


def material(tiles, observations, proposals):
    return Material(tiles=tiles, observations=observations, proposals=proposals)
