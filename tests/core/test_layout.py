"""Names from outside never become paths unchecked; names of ours are stable."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubbleclip.core.layout import SUFFIXES, Layout, product_suffix, tile_id

LAYOUT = Layout(Path("data/hubble"))
OUTSIDE = st.text(st.characters()) | st.text(
    "./\\:%~\0\n \N{RIGHT-TO-LEFT OVERRIDE}\N{FULLWIDTH FULL STOP}\ud800fitsgzjp"
)
PATHS: dict[str, Callable[[str], Path]] = {
    "raw_response": lambda text: LAYOUT.raw_response("observations", text, ".json.gz"),
    "part": LAYOUT.part,
    "product": lambda text: LAYOUT.product("ab" * 32, text),
    "tile": lambda text: LAYOUT.tile(tile_id(text, 1, 0, 0, text)),
}
"""Every path that a text from outside takes part in."""


@pytest.mark.parametrize("kind", PATHS)
@given(text=OUTSIDE)
@example(text="")
@example(text="../../x.fits")
@example(text="/etc/passwd")
@example(text="C:\\x.fits")
@example(text="a\0b.fits")
@example(text="\ud800.fits.gz")
@example(text="x" * 5000 + ".FITS")
def test_nothing_from_outside_is_part_of_a_path(kind: str, text: str) -> None:
    path = PATHS[kind](text)
    below = path.relative_to(LAYOUT.root).as_posix()
    assert re.fullmatch(
        r"(raw/observations|products/ab|products/\.part(/[0-9a-f]{2})?|tiles/[0-9a-f]{2})/[0-9a-f]{32,64}\.[a-z.]+",
        below,
    )
    assert "." not in path.name[:32]
    assert len(path.name) < 80


@given(st.text("./fitsgzjpe", max_size=12))
def test_a_known_suffix_is_kept(stem: str) -> None:
    assert [product_suffix(stem + suffix.upper()) for suffix in SUFFIXES] == list(SUFFIXES)


@given(OUTSIDE, OUTSIDE)
def test_two_texts_never_share_a_place(one: str, other: str) -> None:
    assert (LAYOUT.part(one) == LAYOUT.part(other)) == (one == other)
