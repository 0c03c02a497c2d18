from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_samples import make_sample

from hubbleclip.core.records import to_row
from hubbleclip.dataset.shard_writer import canonical_json, sidecar, sidecars_of


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_refused(value):
    sample = replace(make_sample(0, 0, b""), ra_deg=value)
    with pytest.raises(ValueError, match="JSON"):
        sidecar(sample)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    title=TEXTS, captions=st.lists(TEXTS), corners=st.lists(NUMBERS), cycle=st.none() | st.integers(),
    is_moving=st.booleans(),
)  # fmt: skip
def test_a_sidecar_is_the_canonical_json_of_the_row(title, captions, corners, cycle, is_moving):
    sample = replace(
        make_sample(0, 0, b""), title=title, captions=captions, corners_deg=corners, cycle=cycle, is_moving=is_moving
    )
    assert sidecar(sample) == canonical_json(to_row(sample))


@given(st.lists(st.tuples(TEXTS | st.none(), NUMBERS | st.integers() | st.none(), st.lists(TEXTS)), max_size=5))
def test_sidecars_made_together_are_those_made_alone(rows):
    samples = [
        replace(make_sample(index, 0, b""), target_name=name, ra_deg=ra_deg, captions=captions)
        for index, (name, ra_deg, captions) in enumerate(rows)
    ]
    assert sidecars_of(samples) == [canonical_json(to_row(sample)) for sample in samples]
