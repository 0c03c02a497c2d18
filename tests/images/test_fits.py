from __future__ import annotations

import errno
import gc
import gzip
import mmap
import resource
import tempfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fuzz_worker import cut, mutate
from synthetic_fits import read_drz, refused_if, starry_sky, write_compressed, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.fits import compressed, header_guard, integrity
from hubbleclip.fits.instruments import wavelength_nm
from hubbleclip.images import reader
from hubbleclip.images.preview import read_previews
from hubbleclip.images.reader import read_science_images
from hubbleclip.images.tiling import tile_file
from hubbleclip.missions.base import PARALLEL

LIMIT = 10_000_000


def read_one(path):
    (image,) = read_science_images(path, LIMIT)
    return image


def reason_of(path):
    with pytest.raises(ImageError) as caught:
        read_science_images(path, LIMIT)
    return caught.value.reason


def masked(image):
    return {tuple(place) for place in np.argwhere(~image.valid_yx).tolist()}


@pytest.mark.parametrize(("instrument", "dtype"), [("WFPC2", np.float32), ("WFPC2", np.int16), ("WFPC", np.float32)])
def test_a_cube_of_chips_gives_an_image_a_chip_with_numbers_of_their_own(tmp_path, instrument, dtype):
    cube = np.stack([starry_sky((130, 131), seed) for seed in range(4)]).astype(dtype)
    fits.PrimaryHDU(
        cube, fits.Header({"INSTRUME": instrument, "DETECTOR": 1, "FILTNAM1": "F606W", "FILTER1": 44})
    ).writeto(tmp_path / "u_c0f.fits")
    images = read_science_images(tmp_path / "u_c0f.fits", LIMIT)
    assert [image.chip for image in images] == [0, 1000, 2000, 3000]
    assert {(image.instrument, image.filter) for image in images} == {(instrument, "F606W")}
    np.testing.assert_array_equal(images[2].data_yx, cube[2])


@pytest.mark.parametrize("dtype", [">i2", "<f4", ">f4", ">f8", ">i4", "uint16", "uint8", "uint32"])
def test_every_pixel_type_is_read_true(tmp_path, dtype):
    data = (np.arange(80 * 70).reshape(80, 70) % 251 + 1).astype(dtype)
    fits.PrimaryHDU(data).writeto(tmp_path / "a.fits")
    image = read_one(tmp_path / "a.fits")
    assert image.data_yx.dtype.newbyteorder("=") == np.float32
    np.testing.assert_array_equal(image.data_yx, data.astype(np.float32))


def test_quantized_compressed_floats_stay_within_their_noise(tmp_path, sky):
    write_compressed(tmp_path / "a.fits", sky, compression_type="RICE_1")
    assert np.abs(read_one(tmp_path / "a.fits").data_yx - sky).max() < 0.5


def test_gzip_gives_the_same_image_under_any_name(tmp_path, sky):
    plain = write_drz(tmp_path / "a.fits", sky)
    (tmp_path / "b.fits").write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read_one(tmp_path / "b.fits").data_yx, read_one(plain).data_yx)


def test_nan_infinity_weight_and_bad_quality_are_masked_and_saturation_is_not(tmp_path, sky):
    weight, quality = np.ones_like(sky), np.zeros(sky.shape, np.int16)
    sky[0, 0], sky[0, 1], weight[1, :3] = np.nan, np.inf, [0, -1, np.nan]
    quality[2, 0], quality[2, 1], quality[2, 2] = 32, 256, 4 | 2048
    image = read_drz(tmp_path, sky, WHT=weight, DQ=quality)
    assert masked(image) == {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 2)}


def test_quality_and_weight_are_read_to_their_last_row(tmp_path):
    sky, rng = starry_sky((131, 97)), np.random.default_rng(1)
    weight, quality = rng.integers(0, 2, sky.shape, np.int32), rng.choice([0, 16, 32, 256], sky.shape).astype(np.int16)
    image = read_drz(tmp_path, sky, WHT=weight, DQ=quality)
    np.testing.assert_array_equal(image.valid_yx, (weight > 0) & (quality != 32))


@pytest.mark.parametrize(("prime", "note"), [("WFC3", None), ("COS", PARALLEL)])
def test_an_exposure_beside_another_instrument_is_noted(tmp_path, sky, prime, note):
    assert read_drz(tmp_path, sky, primary={"INSTRUME": "WFC3", "PRIMESI": prime}).note == note


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "^empty"),
        (b"<html>not found</html>", "^unreadable"),
        (b"SIMPLE  =   T" + b" " * 2867, "^truncated"),
        (b"\x1f\x8b broken, and long enough to show it", "^unreadable"),
        (gzip.compress(bytes(9000), mtime=0)[:-12], "^truncated"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "^unreadable: not a FITS file.*a JPEG file"),
        (b"\xef\xbf\xbd" * 9, "^unreadable: not a FITS file.*a file that was decoded as text"),
        (b"\1\2", "^unreadable: not a FITS file: it begins with b'"),
    ],
)
def test_what_is_no_fits_file_is_refused_with_its_reason(tmp_path, content, words):
    (tmp_path / "a.fits").write_bytes(content)
    with pytest.raises(ImageError, match=words):
        read_one(tmp_path / "a.fits")


@pytest.mark.timeout(60)
def test_an_extension_of_less_than_no_data_ends_the_reading(tmp_path, sky):
    write_drz(tmp_path / "a.fits", sky)
    data = bytearray((tmp_path / "a.fits").read_bytes())
    card = data.index(b"PCOUNT  =", 2880)
    back_to_its_header = -(2880 + sky.nbytes) // sky.itemsize
    data[card + 10 : card + 30] = b"%20d" % back_to_its_header
    (tmp_path / "b.fits").write_bytes(data)
    assert reason_of(tmp_path / "b.fits") == "unreadable"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("header", [0, 1])
@pytest.mark.parametrize("value", [b"1000000000000", b"+2000000000"])
def test_axes_beyond_number_are_not_counted(tmp_path, sky, header, value):
    before, *others = write_drz(tmp_path / "a.fits", sky).read_bytes().split(b"NAXIS   =")
    parts = [part if n != header else value.rjust(21) + part[21:] for n, part in enumerate(others)]
    (tmp_path / "b.fits").write_bytes(b"NAXIS   =".join([before, *parts]))
    assert reason_of(tmp_path / "b.fits") == "unreadable"


def test_a_file_that_was_decoded_as_text_says_so(tmp_path, sky):
    whole = write_drz(tmp_path / "a.fits", sky).read_bytes()
    (tmp_path / "b.fits").write_bytes(whole.decode(errors="replace").encode())
    with pytest.raises(ImageError, match=r"unreadable: \d{4,} bytes of the file were replaced .*binary mode"):
        read_one(tmp_path / "b.fits")
    (tmp_path / "c.fits").write_bytes(whole + b"short")
    assert read_one(tmp_path / "c.fits").data_yx.shape == sky.shape


def test_a_primary_header_that_astropy_cannot_make_out_is_unreadable(tmp_path, sky):
    whole = write_drz(tmp_path / "a.fits", sky).read_bytes()
    (tmp_path / "b.fits").write_bytes(
        whole.replace(b"SIMPLE  =                    T", b"SIMPLE  = 'T0      '          ", 1)
    )
    assert reason_of(tmp_path / "b.fits") == "unreadable"


def test_random_damage_never_raises_anything_but_an_image_error(tmp_path, sky):
    whole = write_drz(tmp_path / "a.fits", sky[:100, :100].copy()).read_bytes()
    for number in range(30):
        (tmp_path / "b.fits").write_bytes(mutate(whole, number))
        assert not cut(tmp_path / "b.fits").startswith("crash")


def test_a_disk_too_full_to_unpack_onto_is_no_fault_of_the_file(tmp_path, sky, monkeypatch):
    plain = write_drz(tmp_path / "a.fits", sky)
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(plain.read_bytes()))
    with Path("/dev/full").open("w+b", buffering=0) as full, pytest.raises(OSError, match="No space left") as caught:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda: full)
        read_science_images(tmp_path / "a.fits.gz", LIMIT)
    assert caught.value.errno == errno.ENOSPC


def test_a_lack_of_memory_is_no_fault_of_the_file(tmp_path, sky, monkeypatch):
    def lacking(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(reader, "_find_layers", lacking)
    with pytest.raises(MemoryError):
        read_science_images(write_drz(tmp_path / "a.fits", sky), LIMIT)


def test_too_many_open_files_are_no_fault_of_the_file_but_its_absence_is(tmp_path, sky):
    path = write_drz(tmp_path / "a.fits", sky)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # may free a lower descriptor
    with path.open("rb") as file:
        next_free = file.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, hard))
    try:
        for read in (read_science_images, read_previews):
            with pytest.raises(OSError, match="Too many open files"):
                read(path, LIMIT)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for read in (read_science_images, read_previews):
        with pytest.raises(ImageError, match="^unreadable"):
            read(tmp_path / "absent.fits", LIMIT)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EINVAL])
def test_a_fault_of_the_machine_while_pixels_are_read_is_none_of_the_file(tmp_path, sky, monkeypatch, number):
    def fail(*_, **__):
        raise OSError(number, "failed")

    path = write_drz(tmp_path / "a.fits", sky)
    monkeypatch.setattr(mmap, "mmap", fail)
    with pytest.raises(ImageError if number == errno.EINVAL else OSError, match="failed"):
        read_science_images(path, LIMIT)


@pytest.mark.parametrize("missing", ["INSTRUME", "DETECTOR"])
def test_a_file_of_an_unknown_camera_has_no_rays_no_wavelength_and_a_note(tmp_path, sky, missing):
    path = write_drz(tmp_path / "a_flt.fits", sky, primary={"NDRIZIM": 0, "FILTER": "F160W"})
    with fits.open(path, mode="update") as hdus:
        del hdus[0].header[missing]
    image = read_one(path)
    assert not image.may_have_cosmic_rays
    assert wavelength_nm(image.filter, image.instrument) is None
    assert image.note is not None and image.note.startswith("unknown camera")
    tiles = tile_file(path, "0" * 64, TileSettings(views=("native",))).tiles
    assert {tile.note for tile in tiles} == {image.note}


def test_the_zeros_of_a_photon_counter_are_measurements(tmp_path):
    counts = np.zeros((300, 300), np.float32)
    counts[100:200, 100:200] = np.random.default_rng(0).poisson(2, (100, 100)) / 7
    assert read_drz(tmp_path, counts, instrument=("ACS", "SBC")).valid_yx.all()


def test_quality_flags_of_signed_bytes_are_read_with_their_bzero(tmp_path, sky):
    quality = np.zeros(sky.shape, np.int8)  # stored as uint8 with BZERO -128; bit 128 is a bad one
    quality[3, 5], quality[4, 6] = 4, 16
    path = write_drz(tmp_path / "a_flt.fits", sky, DQ=quality)
    assert fits.getheader(path, "DQ")["BZERO"] == -128
    assert masked(read_one(path)) == {(3, 5)}


def write_with_packed_quality(path, data, hdu=fits.ImageHDU, **options):
    image = hdu(data.astype(np.float32), name="SCI", **options)
    fits.HDUList([fits.PrimaryHDU(), image, fits.CompImageHDU(data, name="DQ")]).writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize(
    ("write", "num_bytes"),
    [
        (write_drz, 45_000),
        (write_compressed, 45_000 + 64 * 90 * 24),
        (write_with_packed_quality, 64 * 90 * 24),  # pixels that are mapped from the file take no memory
        (lambda path, data: write_with_packed_quality(path, data, fits.CompImageHDU), 45_000 + 64 * 90 * 24),
    ],
)
def test_an_image_that_needs_too_much_memory_is_refused_before_it_is_read(tmp_path, monkeypatch, write, num_bytes):
    data = np.ones((100, 90), np.int16)
    for most, is_refused in ((num_bytes, False), (num_bytes - 1, True)):
        monkeypatch.setattr(reader, "IMAGE_BYTES", most)
        with refused_if(is_refused, "too_large: the image needs"):
            read_one(write(tmp_path / "a.fits", data))


def test_the_compression_of_the_quality_is_checked_too(tmp_path, sky, monkeypatch):
    monkeypatch.setattr(compressed, "LARGEST_SIDE", 559)
    for options in ({}, {"hdu": fits.CompImageHDU, "tile_shape": (1, 9)}):
        with pytest.raises(ImageError, match="unreadable: compression parameter ZTILE1 is 560"):
            read_one(write_with_packed_quality(tmp_path / "a.fits", sky.astype(np.int16), **options))


def test_a_file_of_too_many_extensions_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(header_guard, "MAX_HDUS", 3)
    monkeypatch.setattr(integrity, "MAX_HDUS", 3)
    for num, reason in ((2, "no_image"), (3, "unreadable")):
        path = tmp_path / f"{num}.fits"
        fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU() for _ in range(num))]).writeto(path)
        assert reason_of(path) == reason
        assert bool(integrity.content_problem(path, ".fits")) == (reason == "unreadable")
