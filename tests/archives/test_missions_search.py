"""Responses of MAST's search API that cannot be used."""

from __future__ import annotations

import pytest

from hubbleclip.archives.http.responses import DamagedError
from hubbleclip.archives.mast.missions_search import read_search


def test_a_page_that_lacks_rows_is_refused() -> None:
    with pytest.raises(DamagedError, match="1 of 3 rows") as caught:
        read_search({"totalResults": 3, "results": [{"sci_data_set_name": "A"}]}, {"limit": 10, "offset": 0})
    assert caught.value.reason == "partial"
    assert read_search({"totalResults": 3, "results": [{}]}, {"limit": 2, "offset": 2}).total == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"totalResults": -3, "results": []},
        {"totalResults": 10**400, "results": []},
        {"totalResults": 1, "results": [1]},
    ],
)
def test_a_body_of_another_form_is_damaged(body: dict[str, object]) -> None:
    with pytest.raises(DamagedError, match="no totalResults or no results"):
        read_search(body, {"limit": 10, "offset": 0})
