"""Commands that serve searches to people, programs and agents."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hubbleclip.cli.options import Options
from hubbleclip.cli.running import redirect_caches
from hubbleclip.core.layout import Layout

if TYPE_CHECKING:
    from hubbleclip.search.server.service import Service

LOOPBACK, PORT = "127.0.0.1", 8765
TOKEN = "HUBBLECLIP_TOKEN"  # noqa: S105
"""Environment variable of the token; an option would be visible in the list of processes."""


def serve(
    options: Options = Options(),
    *,
    host: Annotated[
        str, Parameter(help="Address, such as 0.0.0.0; one other than loopback needs a token or --public.")
    ] = LOOPBACK,
    port: Annotated[int, Parameter(help="Port, such as 8765; 0 takes any free one.")] = PORT,
    public: Annotated[bool, Parameter(negative=(), help="Let everybody who can connect search.")] = False,
) -> None:
    """Serve the search: pages, HTTP API and cone search, until Ctrl-C."""
    from hubbleclip.search.server.security import check_access
    from hubbleclip.search.server.serve import serve as serve_search

    access = check_access(host, os.environ.get(TOKEN), public)
    layout = Layout(options.settings().root)
    redirect_caches(layout)
    # Names are looked up on the internet for the person at this machine, but not for strangers.
    asks_sesame = access.is_loopback and not public
    serve_search(make_service(layout, asks_sesame=asks_sesame), access, port, layout.search_server)


def mcp(options: Options = Options()) -> None:
    """Serve search, tiles, lineage and SQL to agents, by the Model Context Protocol over standard input and output."""
    from hubbleclip.search.agents import make_agent_server
    from hubbleclip.search.explorer import Explorer

    layout = Layout(options.settings().root)
    redirect_caches(layout)
    server = make_agent_server(lambda: Explorer(layout), layout, lambda tile_id: lineage_of(layout, tile_id))
    server.run()


def make_service(layout: Layout, *, asks_sesame: bool) -> Service:
    """Open the search index of a profile."""
    from hubbleclip.search.explorer import Explorer
    from hubbleclip.search.server.service import Service

    engine = Explorer(layout, asks_sesame=asks_sesame)
    # The model is loaded while the server starts, so that the first search need not wait for it.
    threading.Thread(target=engine.load_model, name="load-model", daemon=True).start()
    return Service(engine=engine, explain=lambda tile_id: lineage_of(layout, tile_id))


def lineage_of(layout: Layout, tile_id: str) -> Mapping[str, Any]:
    """Read the lineage of a tile from the published catalog."""
    from hubbleclip.catalog.catalog import read_catalog
    from hubbleclip.pipeline.lineage import explain_tile

    with read_catalog(layout) as catalog:
        return explain_tile(catalog, layout, tile_id)
