"""What a flow run shows."""

from pathlib import Path

import pytest

from flows.artifacts import places
from hubbleclip.core.layout import Layout


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("", "Open `/data/demo/reports/r1/index.html` on the machine of this run."),
        (
            "s3://bucket/demo",
            "Open `/data/demo/reports/r1/index.html` on the machine of this run and at "
            "`s3://bucket/demo/reports/r1/index.html`.",
        ),
    ],
)
def test_a_report_is_told_by_its_places(store: str, told: str) -> None:
    layout = Layout(Path("/data/demo"), store)
    assert places(layout, layout.reports / "r1") == told
