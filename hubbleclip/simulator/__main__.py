"""`python -m hubbleclip.simulator`: serve until standard input closes. Used by `running_simulator`."""

from __future__ import annotations

import argparse
import sys
import threading

import uvicorn

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.simulator.server.app import serve
from hubbleclip.simulator.server.fault_plan import FaultPlan


def report_address(url: str, server: uvicorn.Server) -> None:
    """Write the address for the parent process to read, and stop the server when the parent exits.

    Parameters
    ----------
    url
        Address of the server, written as one line to standard output.
    server
        Server to stop once standard input closes.

    """
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()

    # Standard input closes also when the parent is killed, so no child outlives it.
    def watch() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True
        server.force_exit = True

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def main() -> int:
    """Serve the archive that the command line describes.

    Returns
    -------
    int
        Exit code: 0, or 2 for wrong settings, with one line on standard error.

    """
    parser = argparse.ArgumentParser(prog="hubbleclip.simulator", description="Serve the simulated archive.")
    parser.add_argument("--settings", default="{}", help="settings of the simulator as JSON")
    parser.add_argument("--faults", default="{}", help="fault plan as JSON")
    options = parser.parse_args()
    try:
        settings = SimulatorSettings.model_validate_json(options.settings)
        serve(settings, FaultPlan.model_validate_json(options.faults), on_ready=report_address)
    except HubbleclipError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
