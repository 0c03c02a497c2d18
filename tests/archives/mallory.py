"""A hostile archive for tests of the client: it speaks MAST's API and sends what a test wants."""

from __future__ import annotations

from typing import Any

from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.core.records import Product
from tests.bad_server import FITS, BadServer, Respond, give
from tests.made_archive import MadeArchive, SparseFile, observation


class Mallory(MadeArchive):
    """A MAST that returns `observation` and `product`; files and pages are `responses`.

    `query` and `columns`, if they are set, replace the responses to queries, and to astroquery's request of columns.
    """

    def __init__(self) -> None:
        seen = observation("ibol02010", "12345", "WFC3/UVIS", "F606W", 3)
        super().__init__("HST", [(seen, {"drz.fits": SparseFile({})})])
        self.query: Respond | None = None
        self.columns: Respond | None = None
        self.responses, self.table = [give(FITS)], {"/portal/": self.table["/portal/"]}
        self.observation, self.product = self.rows[0], self.products[0]
        self.observation |= {"t_obs_release": 59000.0, "obsid": "77"}
        self.product |= {"obsID": "77", "parent_obsid": "77", "size": None, "proposal_id": None}

    def respond(self, handler: Any) -> None:
        if handler.command == "GET":
            BadServer.respond(self, handler)
        elif respond := self.columns if handler.path.endswith("columnsconfig") else self.query:
            respond(handler)
        else:
            super().respond(handler)


def product_of(archive: MastArchive) -> Product:
    (product,), _ = archive.list_products([item for page in archive.query_observations(0) for item in page])
    return product
