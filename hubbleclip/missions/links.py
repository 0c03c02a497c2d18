"""Links of a tile to sky atlases, and to its observation, programme and file at MAST and STScI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from hubbleclip.missions import MISSIONS

STSCI = "https://www.stsci.edu/"
DOWNLOAD = "https://mast.stsci.edu/api/v0.1/Download/file?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link to another site. Nothing is sent to the other site before a person clicks the link."""

    text: str
    url: str


def sky_links(facts: Mapping[str, Any]) -> list[Link]:
    """Return links that open sky atlases at the tile's position."""
    if facts.get("ra_deg") is None or facts.get("dec_deg") is None:
        return []
    target = f"{facts['ra_deg']:.6f} {facts['dec_deg']:+.6f}"
    fov = max((facts.get("pixel_scale_arcsec") or 0.1) * (facts.get("size_px") or 224) / 3600 * 2, 0.005)
    aladin = urlencode({"target": target, "fov": f"{fov:.4f}"}, quote_via=quote)
    esasky = urlencode({"target": target, "fov": f"{fov:.4f}", "cooframe": "J2000", "sci": "true"}, quote_via=quote)
    return [
        Link(text="Aladin Lite", url=f"https://aladin.cds.unistra.fr/AladinLite/?{aladin}"),
        Link(text="ESASky", url=f"https://sky.esa.int/esasky/?{esasky}"),
    ]


def archive_links(facts: Mapping[str, Any]) -> list[Link]:
    """Return links to the tile's observation, programme and file; none if the mission is unknown."""
    archive, _, number = str(facts.get("proposal_id") or "").partition(":")
    mission = MISSIONS.get(archive)
    if mission is None:
        return []
    links, obs_id, uri = [], facts.get("obs_id"), facts.get("product_uri")
    if obs_id:
        name = quote(str(obs_id), safe="")
        links.append(Link(text="Observation at MAST", url=mission.observation_page.format(name, name.upper())))
    programme = STSCI + mission.proposals.page.format(quote(number, safe=""))
    links.append(Link(text=f"Programme {number}", url=programme))
    if uri:
        links.append(Link(text="FITS file", url=DOWNLOAD + urlencode({"uri": uri})))
    return links
