"""`python -m hubbleclip.simulator`: serve until standard input ends. Used by `running_simulator`."""

from __future__ import annotations

import argparse
import sys
import threading

import uvicorn

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.simulator.server.app import serve
from hubbleclip.simulator.server.fault_plan import FaultPlan


def announce(url: str, server: uvicorn.Server) -> None:
    """Write the address for the parent to read, and watch for the parent's end."""
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()

    def watch() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True
        server.force_exit = True

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def main() -> int:
    """Exit code 2 and one line on standard error for wrong settings."""
    parser = argparse.ArgumentParser(prog="hubbleclip.simulator", description="Serve the simulated archive.")
    parser.add_argument("--settings", default="{}", help="settings of the simulator as JSON")
    parser.add_argument("--faults", default="{}", help="plan of faults as JSON")
    arguments = parser.parse_args()
    try:
        settings = SimulatorSettings.model_validate_json(arguments.settings)
        serve(settings, FaultPlan.model_validate_json(arguments.faults), announce=announce)
    except HubbleclipError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
