"""Which HDUs of a file are read as images, with which quality and weight, and why the others are not."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from hubbleclip.core.errors import ImageError
from hubbleclip.fits import hdus
from hubbleclip.fits.hdus import Layer, UnusedImage, image_shape, science_layers
from hubbleclip.fits.instruments import CAMERAS

ACS, WFPC2, RAMP = CAMERAS["ACS/WFC"], CAMERAS["WFPC2"], CAMERAS["WFC3/IR"]
FLAT = np.ones((3, 4), np.float32)


def hdus_of(*named, primary=None):
    """An HDU list of images, each given as a name, or as (name, EXTVER) or (name, EXTVER, data)."""
    made = fits.HDUList([fits.PrimaryHDU(primary)])
    for one in named:
        name, *rest = (one,) if isinstance(one, str) else one
        ver, data = (*rest, *(1, FLAT)[len(rest) :])
        made.append(fits.ImageHDU(data, name=name, ver=ver))
    return made


def chips(found, camera=ACS, stem="a"):
    return [layer.chip for layer in science_layers(found, stem, camera)[0]]


def reason(found, camera=ACS, stem="a"):
    with pytest.raises(ImageError) as caught:
        science_layers(found, stem, camera)
    return caught.value.reason


ACCOMPANYING = (
    *("WHT", "WEIGHT", "CTX", "CON", "SAMP", "TIME", "EXP", "EXPTIME", "AREA", "GAIN"),
    *("ERR", "ERROR", "err", "RMS", "SIGMA", "VAR", "IVAR", "NOISE", "VAR_POISSON"),
    *("DQ", "MASK", "SEGM", "SEGMAP", "PSF", "FLAT", "BKG", "MDRIZSKY", "MODEL", "RESID", "RESIDUAL"),
    *("DX", "DY", "DXY", "D2IMARR", "WCSDVARR", "PIXMAP", "HDRLET"),
)
STEMS = (
    *("a_wht", "A_WHT", "a_weight", "a.ctx", "a_con", "a_err", "a_rms", "a_dq", "a_sigma", "a_ivar", "a_var"),
    *("a_mask", "a_psf", "a_flat", "a_seg", "a_segm", "a_spt", "a_shm", "a_bkg"),
)


@pytest.mark.parametrize("name", ACCOMPANYING)
def test_an_extension_that_accompanies_an_image_is_neither_read_nor_listed(name):
    layers, unused = science_layers(hdus_of("IMAGE", name), "a", ACS)
    assert ([layer.chip for layer in layers], unused) == ([1], ())
    assert reason(hdus_of(name)) == "no_image"


@pytest.mark.parametrize("name", ["", "ERRORS", "MASKED", "EXPOSURE", "VARIABLE", "DXYZ", "XERR", "FLATS", "SCIENCE"])
def test_an_extension_of_another_name_is_an_image(name):
    assert chips(hdus_of(name, "ERR")) == [1]


@pytest.mark.parametrize("stem", STEMS)
def test_a_file_that_accompanies_an_image_is_known_by_the_end_of_its_name(stem):
    assert reason(hdus_of("SCI"), stem=stem) == "not_an_image"


@pytest.mark.parametrize("stem", ["wht", "a_wht_drz", "a_whts", "awht", "a_drz"])
def test_a_file_of_another_name_is_read(stem):
    assert chips(hdus_of("SCI"), stem=stem) == [1]


def test_science_extensions_go_before_the_primary_image_and_that_before_the_others():
    assert chips(hdus_of("OTHER", "sci", ("SCI", 2), primary=FLAT)) == [2, 3]
    assert chips(hdus_of("OTHER", "LAST", primary=FLAT)) == [0]
    assert chips(hdus_of("OTHER", "ERR", "LAST")) == [1, 3]


def test_a_sci_extension_without_an_image_is_no_image_whatever_else_the_file_has():
    for empty in (None, np.ones(5, np.float32), np.ones((0, 5), np.float32)):
        assert reason(hdus_of(("SCI", 1, empty), "OTHER", primary=FLAT)) == "no_image"
    assert chips(hdus_of(("SCI", 1, np.ones(5, np.float32)), ("SCI", 2))) == [2]
    assert reason(hdus_of()) == "no_image"


def test_a_file_of_more_extensions_than_any_camera_writes_is_refused(monkeypatch):
    monkeypatch.setattr(hdus, "MAX_SCIENCE", 3)
    assert chips(hdus_of(*["SCI"] * 3)) == [1, 2, 3] and chips(hdus_of(*["SCI"] * 4, "SAMP"), RAMP) == [1]
    assert reason(hdus_of(*["SCI"] * 4)) == "too_large"


@pytest.mark.parametrize(
    ("shape", "camera", "expected"),
    [
        ((1, 3, 4), ACS, [0]),
        ((1, 1, 3, 4), ACS, [0]),
        ((4, 3, 4), WFPC2, [0, 1000, 2000, 3000]),
        ((2, 3, 4), WFPC2, [0, 1000]),
        ((5, 3, 4), WFPC2, None),
        ((2, 3, 4), ACS, None),
        ((2, 1, 3, 4), WFPC2, None),
        ((1, 2, 3, 4), WFPC2, None),
    ],
)
def test_a_cube_is_read_if_its_planes_are_the_chips_of_its_camera(shape, camera, expected):
    cube = hdus_of(primary=np.ones(shape, np.float32))
    if expected is None:
        assert reason(cube, camera) == "not_an_image"
    else:
        layers, _ = science_layers(cube, "a", camera)
        assert [layer.chip for layer in layers] == expected
        assert [layer.plane for layer in layers] == (list(range(len(layers))) if len(layers) > 1 else [None])


def test_quality_and_weight_are_the_first_of_the_version_and_the_shape_of_an_image():
    small = np.ones((3, 3), np.int16)
    first = ("SCI", 1), ("DQ", 1, small), ("DQ", 1), ("DQ", 1), ("WHT", 2)
    both = hdus_of(*first, ("SCI", 2), ("DQ", 3), ("WHT", 1, small), ("ERR", 2))
    assert science_layers(both, "a", ACS)[0] == [Layer(1, None, 3, None), Layer(6, None, None, 5)]


def test_the_planes_of_a_cube_have_its_quality():
    cube = np.ones((4, 3, 4), np.float32)
    layers, _ = science_layers(hdus_of(("SCI", 1, cube), ("DQ", 1, cube), ("WHT", 1, FLAT)), "a", WFPC2)
    assert [(layer.plane, layer.quality, layer.weight) for layer in layers] == [(n, 2, None) for n in range(4)]
    assert layers[2].chip == 2001


def test_only_ramps_with_samples_are_cut_at_their_last_read():
    reads = ("SCI", 1), "SAMP", ("SCI", 2), ("SAMP", 2)
    layers, unused = science_layers(hdus_of(*reads), "a", RAMP)
    assert [layer.chip for layer in layers] == [1]
    assert [(one.chip, one.reason, "earlier read" in one.detail) for one in unused] == [(3, "not_chosen", True)]
    assert chips(hdus_of(*reads), ACS) == chips(hdus_of(("SCI", 1), "TIME", ("SCI", 2)), RAMP) == [1, 3]


def test_each_image_that_is_not_read_is_listed_with_its_reason():
    cube = np.ones((9, 3, 4), np.float32)
    _, beside = science_layers(hdus_of("SCI", "OTHER", ("SCI", 2, cube), "ERR", primary=FLAT), "a", ACS)
    assert [(one.chip, one.reason) for one in beside] == [(0, "not_chosen"), (2, "not_chosen"), (3, "not_an_image")]
    assert "only these are used" in beside[0].detail and "planes are not the chips" in beside[2].detail
    _, behind = science_layers(hdus_of("OTHER", "ERR", primary=FLAT), "a", ACS)
    assert [(one.chip, one.reason) for one in behind] == [(1, "not_chosen")]
    assert "only the primary image" in behind[0].detail
    assert science_layers(hdus_of("SCI"), "a", ACS)[1] == ()
    assert isinstance(behind[0], UnusedImage)


def test_the_shape_of_what_is_no_image_is_empty():
    table = fits.BinTableHDU.from_columns([fits.Column("a", "D", array=np.ones(3))])
    groups = fits.GroupsHDU(
        fits.GroupData(np.ones((2, 1, 3, 4), np.float32), bitpix=-32, parnames=["a"], pardata=[np.ones(2)])
    )
    assert (image_shape(table), image_shape(groups), image_shape(fits.PrimaryHDU())) == ((), (), ())
    assert image_shape(fits.ImageHDU(np.ones((2, 3, 4)))) == (2, 3, 4)
