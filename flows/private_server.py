"""Start a private Prefect server for one command.

The server is used when no `PREFECT_API_URL` is set. It runs as long as the command and keeps its database in the
profile's folder.

Prefect's own temporary server is not used, because it stops while its clients still use it, prints tracebacks at exit
and sends telemetry. The private server starts before Prefect is imported, sends no telemetry, and answers only to the
command, which alone has its key. It ends when the pipe
from its parent process closes, so that it ends even if the parent is killed. It has a process group of its own, because
Ctrl-C must not stop it before its clients.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from flows.scheduled_server import EVERY_SERVER
from hubbleclip.core.api_key import client_key, make_private, new_key, prefect_home, protection
from hubbleclip.core.errors import HubbleclipError

START_TIMEOUT_S = 120.0
QUIET = EVERY_SERVER | {
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
}


@contextmanager
def prefect_server(home: Path, data: Path | None = None) -> Iterator[Callable[[], None]]:
    """Start a private server and set `PREFECT_API_URL` to it; if the variable is already set, start no server.

    The server starts in the background while the caller imports its modules, because both take several seconds.
    """
    if os.environ.get("PREFECT_API_URL"):
        os.environ.update(client_key(prefect_home(data), os.environ) if data else {})
        yield lambda: None
        return
    make_private(home)
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    os.environ["PREFECT_HOME"] = str(home.absolute())
    # The socket is bound here and inherited, so that no other program can take the port before the server starts.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ours = protection(new_key(), port) | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        before = {name: os.environ.get(name) for name in ours}
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.private_server", str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            process_group=0,
            env=os.environ | ours,
        )
    with server, ExitStack() as after_error:
        after_error.callback(server.kill)  # its database need not be closed, and the person waits
        try:
            os.environ.update(ours)
            yield partial(_wait_until_up, server, f"{ours['PREFECT_API_URL']}/health")
            after_error.pop_all()
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})
            if server.stdin:
                server.stdin.close()


def _wait_until_up(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - the URL is on the loopback address
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise HubbleclipError("the local Prefect server did not start: set PREFECT_API_URL to the URL of a running server")


def main() -> None:
    """Run the server until standard input is closed."""
    import uvicorn  # noqa: PLC0415 - slow imports, which the parent process does not need
    from prefect.server.api.server import create_app  # noqa: PLC0415

    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="critical", timeout_graceful_shutdown=1))

    def watch() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
