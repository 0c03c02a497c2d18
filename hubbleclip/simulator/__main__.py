"""Command `python -m hubbleclip.simulator`, which serves the simulated archive until its standard input closes.

The functions of `simulator.server.launcher` start this command as a child process.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.simulator.observations import SkySettings
from hubbleclip.simulator.server.app import make_app, serve
from hubbleclip.simulator.server.product_store import ArchiveStore


def report_address(url: str, server: uvicorn.Server) -> None:
    """Write the URL of the server to standard output, and stop the server when the parent process exits."""
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()

    # Standard input also closes if the parent is killed, so the server never continues without its parent.
    def watch() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True
        server.force_exit = True

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def main(
    section: type[SkySettings] = SkySettings,
    make: Callable[[SkySettings], ASGIApp] = lambda settings: make_app(ArchiveStore(settings)),
) -> int:
    """Serve the simulated archive with the settings given on the command line."""
    parser = argparse.ArgumentParser(prog="hubbleclip.simulator", description="Serve the simulated archive.")
    parser.add_argument("--settings", default="{}", help="settings of the simulator as JSON")
    options = parser.parse_args()
    try:
        settings = section.model_validate_json(options.settings)
        serve(settings, app=make(settings), on_ready=report_address)
    except HubbleclipError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
