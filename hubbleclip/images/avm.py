"""Store the sky position of a picture in its XMP packet, as Astronomy Visualization Metadata (AVM) 1.2.

Aladin and pyavm read these metadata. The standard is at https://www.virtualastronomy.org/avm_metadata.php.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from astropy.wcs import WCS
from PIL import Image

from hubbleclip.images.encode import JPEG_QUALITY, PNG_SIGNATURE, with_texts
from hubbleclip.images.wcs import parse_wcs

PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:avm="http://www.communicatingastronomy.org/avm/1.0/"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/">{}</rdf:Description>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
SUBJECT = "<dc:subject><rdf:Bag><rdf:li>{}</rdf:li></rdf:Bag></dc:subject>"
NUM_POINTS = 5
"""Number of points per side of the square grid to which a tile's linear WCS is fitted."""


def with_avm(encoded: bytes, facts: Mapping[str, Any], form: str = "") -> bytes:
    """Add the sky position to a tile's PNG or JPEG, and convert the picture to `form`: `png`, `jpg` or "" (no change).

    `facts` has the key `size_px`. The keys `wcs`, `instrument` and `target_name` are optional.
    """
    packet, is_png = _packet(facts), encoded.startswith(PNG_SIGNATURE)
    if is_png and form != "jpg":
        return with_texts(encoded, {}, xmp=packet)
    content = io.BytesIO()
    with Image.open(io.BytesIO(encoded)) as picture:
        if form == "png":
            picture.save(content, "PNG")
            return with_texts(content.getvalue(), {}, xmp=packet)
        picture.save(content, "JPEG", quality=JPEG_QUALITY if is_png else "keep", xmp=packet.encode())
    return content.getvalue()


def _packet(facts: Mapping[str, Any]) -> str:
    """Write the XMP packet of a tile."""
    values: dict[str, Any] = {"MetadataVersion": "1.2", "Type": "Observation"}
    if facts.get("instrument"):
        values["Instrument"] = [facts["instrument"]]
    wcs = parse_wcs(facts.get("wcs"))
    values |= _spatial(wcs, facts["size_px"]) if wcs else {}
    elements = [f"<avm:{tag}>{_written(value)}</avm:{tag}>" for tag, value in values.items()]
    if facts.get("target_name"):  # written as the AVM tag Subject.Name
        elements.append(SUBJECT.format(escape(str(facts["target_name"]))))
    return PACKET.format("".join(elements))


def _written(value: Any) -> str:
    """Format a value as RDF text; a list becomes an RDF sequence."""
    if isinstance(value, list):
        return f"<rdf:Seq>{''.join(f'<rdf:li>{_written(one)}</rdf:li>' for one in value)}</rdf:Seq>"
    return escape(str(value))


def _spatial(wcs: WCS, size_px: int) -> dict[str, Any]:
    """Fit a linear WCS to a tile's WCS, which may have distortions, and return the fit as AVM tags.

    The tag CDMatrix is written although AVM 1.2 discourages it, because scale and rotation cannot describe shear.
    """
    steps = np.linspace(0.5, size_px + 0.5, NUM_POINTS)
    x, y = (axis.ravel() for axis in np.meshgrid(steps, steps))
    sky = wcs.pixel_to_world(x - 1, y - 1).icrs
    plane = WCS(naxis=2)
    plane.wcs.ctype = "RA---TAN", "DEC--TAN"
    plane.wcs.crval = sky[len(sky) // 2].ra.deg, sky[len(sky) // 2].dec.deg
    offsets_deg = np.stack(plane.wcs_world2pix(sky.ra.deg, sky.dec.deg, 1), axis=1)
    fitted = np.linalg.lstsq(np.stack([x, y, np.ones_like(x)], axis=1), offsets_deg, rcond=None)[0]
    cd = fitted[:2].T
    scale_deg = math.sqrt(abs(np.linalg.det(cd)))
    return {
        "Spatial.CoordinateFrame": "ICRS",
        "Spatial.Equinox": "2000.0",
        "Spatial.CoordsystemProjection": "TAN",
        "Spatial.Quality": "Full",
        "Spatial.ReferenceValue": plane.wcs.crval.tolist(),
        "Spatial.ReferenceDimension": [float(size_px)] * 2,
        "Spatial.ReferencePixel": np.linalg.solve(cd, -fitted[2]).tolist(),
        "Spatial.Scale": [-scale_deg, scale_deg],
        "Spatial.Rotation": math.degrees(-math.atan2(cd[0, 1], cd[1, 1])),
        "Spatial.CDMatrix": cd.ravel().tolist(),
    }
