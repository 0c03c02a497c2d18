"""What a flow run shows."""

from pathlib import Path

import pytest

from hubbleclip.core.layout import Layout


@pytest.mark.parametrize(
    ("store", "link", "text"),
    [
        ("", "file:///data/demo/reports/r1/index.html", "on the machine of this run: /data/demo/reports/r1/index.html"),
        ("s3://bucket/demo", "s3://bucket/demo/reports/r1/index.html", "Report r1 in the store"),
    ],
)
def test_a_report_is_a_link_to_its_page(store: str, link: str, text: str) -> None:
    from flows.artifacts import report_link

    layout = Layout(Path("/data/demo"), store)
    found, said = report_link(layout, layout.reports / "r1")
    assert found == link
    assert text in said
