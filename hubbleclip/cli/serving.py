"""Commands that serve searches to people, programs and agents."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial

from hubbleclip.cli.options import Options
from hubbleclip.cli.running import redirect_caches
from hubbleclip.core.errors import needing

LOOPBACK, PORT = "127.0.0.1", 8765
MAX_CUTOUT_BYTES = 8_000_000
"""Maximum number of bytes read from the archive's FITS file for one cut-out; a tile of ACS/WFC needs 6 to 7 MB."""
TOKEN = "HUBBLECLIP_TOKEN"  # noqa: S105
"""Environment variable of the token; an option would be visible in the list of processes."""


def serve(options: Options = Options(), *, host: str = LOOPBACK, port: int = PORT, public: bool = False) -> None:
    """Serve the search: pages, HTTP API, tools for agents, cone search and image access, until Ctrl-C.

    Parameters
    ----------
    host
        Address, such as 0.0.0.0; any address other than loopback needs a token or --public.
    port
        Port, such as 8765; 0 chooses a free port.
    public
        Allow searches by everybody who can connect.

    """
    from anyio import from_thread

    from hubbleclip.archives.mast.remote_file import open_remote
    from hubbleclip.pipeline.history import explain
    from hubbleclip.search.engine import Search
    from hubbleclip.search.server.run_server import run_server
    from hubbleclip.search.server.search_service import SearchService
    from hubbleclip.search.server.security import check_access, is_loopback

    access = check_access(host, os.environ.get(TOKEN), public)
    layout = redirect_caches(options.layout())
    # Only users of this machine may cause the server to send requests to the internet.
    asks = is_loopback(access.host) and not public
    search = Search(layout, asks_sesame=asks, is_asked_ahead=True)
    settings = options.settings()
    remote = partial(open_remote, settings.fetch, settings.archive.mast_url, max_bytes=MAX_CUTOUT_BYTES)
    service = SearchService(search=search, explain=partial(explain, layout), open_remote=remote if asks else None)
    # The model is loaded while the server starts, so that the first search need not wait for it.
    threading.Thread(target=service.load_model, name="load-model", daemon=True).start()
    agents = None
    if not public:  # the tool `sql` must not be open to the public
        with suppress(ModuleNotFoundError):  # raised if the extra `agents` is not installed
            from hubbleclip.search.agents import make_agent_server

            run, run_sql = (partial(from_thread.run, partial(service.run, queue=q)) for q in (None, service.tables))
            agents = make_agent_server(lambda: search, layout, service.explain, run=run, run_sql=run_sql)
    run_server(service, access, port, layout.search_server, agents)


def mcp(options: Options = Options()) -> None:
    """Serve search, tiles, lineage and SQL to agents, by the Model Context Protocol over standard input and output."""
    from hubbleclip.pipeline.history import explain
    from hubbleclip.search.engine import Search

    with needing("agents", "a server of tools for agents"):
        from hubbleclip.search.agents import make_agent_server
    layout = redirect_caches(options.layout())
    make_agent_server(lambda: Search(layout, asks_sesame=False), layout, partial(explain, layout)).run()
