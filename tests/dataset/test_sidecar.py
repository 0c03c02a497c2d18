import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_samples import make_sample

from hubbleclip.core.records import to_row
from hubbleclip.dataset.shard_writer import canonical_json, sidecar


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_json_cannot_represent_are_refused(value):
    sample = replace(make_sample(0, 0, b""), ra_deg=value)
    with pytest.raises(ValueError, match="JSON"):
        sidecar(sample)


def test_a_json_text_has_one_form():
    assert canonical_json({"b": [1.0, None, True], "a": "é"}) == '{"a":"é","b":[1.0,null,true]}'.encode()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    title=TEXTS,
    captions=st.lists(TEXTS),
    corners=st.lists(NUMBERS),
    cycle=st.none() | st.integers(),
    is_moving=st.booleans(),
)
def test_a_sidecar_is_the_row(title, captions, corners, cycle, is_moving):
    sample = replace(
        make_sample(0, 0, b""), title=title, captions=captions, corners_deg=corners, cycle=cycle, is_moving=is_moving
    )
    assert json.loads(sidecar(sample)) == to_row(sample)
