"""The Prefect server of a data root. Commands and scheduled runs share the server's home folder, database and key.

A command uses the server that already runs on its data root, for example a server started by `hubbleclip server`. If
no server runs, the command starts a server, which ends when no command has used it for a few seconds, even if the
commands were killed.

Whoever may use the server's API can run any command on the worker, by creating a deployment. The API therefore has a
key, which is a password of HTTP basic authentication; CORS and CSRF protection refuse requests of other web sites.

Prefect's own temporary server is not used, because it stops while its clients still use it. `prefect server start
--background` is not used, because a background server never ends by itself. If a background server is killed, it leaves
a file that prevents the start of a new server.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.interrupts import INTERRUPTED, end_soon, write_stopped
from hubbleclip.core.io import locked, make_folder, write_text

HOST = "127.0.0.1"
LOOPBACK = frozenset({HOST, "localhost", "::1"})
KEY, SERVER_KEY = "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"
KEY_FILE = "api-key"
START_TIMEOUT_S = 120.0
LINGER_S = 5.0
"""Time (s) for which an unused server waits for another command. The start of a new server takes about as long."""
PORT_FILE, SERVER_LOCK, USERS_LOCK, LOG_FILE = "server-port", "server.lock", "users.lock", "server.log"
"""Files in the Prefect home: the server's port, the server's lock, the lock that all commands share, the log."""
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "hubbleclip",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # Concurrency leases are kept on disk, so that a server that was killed and restarted can release the concurrency
    # slots of lost runs.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}
"""Environment variables of the server, the workers and the commands."""
QUIET = {"PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
"""Further environment variables of commands. They silence Prefect, because a command logs what happens itself."""


def prefect_home(data: Path) -> Path:
    """Return the absolute path of the Prefect home, the folder of the Prefect server of a data root."""
    return (data / ".prefect").absolute()


def make_private(folder: Path) -> None:
    """Create a folder if it does not exist, and allow only its owner to open it."""
    make_folder(folder)
    folder.chmod(0o700)


def stored_key(home: Path) -> str:
    """Read the key of a server from a file that only its owner can read; if there is none, make a random key."""
    path = home / KEY_FILE
    with locked(home):  # the server and the worker may start at the same time
        if not path.is_file():
            write_text(path, f"hubbleclip:{secrets.token_urlsafe(32)}\n")
        path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()


def protection(key: str, port: int) -> dict[str, str]:
    """Make the environment variables for the API key (of server and clients), CSRF protection and CORS."""
    return {
        KEY: key,
        SERVER_KEY: key,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
    }


def client_key(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variable `KEY` with the stored key, for clients of a server on this machine.

    The result is empty if `KEY` is set already, if no key is stored, or if `PREFECT_API_URL` is not the address of a
    server on this machine.
    """
    # the key of this machine is not sent to other machines
    is_local = urlsplit(environment.get("PREFECT_API_URL", "")).hostname in LOOPBACK
    if KEY in environment or not is_local or not (home / KEY_FILE).is_file():
        return {}
    return {KEY: stored_key(home)}


def prefect_environment(data: Path, port: int) -> dict[str, str]:
    """Make the environment variables for the server, the workers and their clients.

    Variables that the user has set are kept. The API key is included only for a server on this machine.
    """
    home = prefect_home(data)
    make_private(home)
    is_elsewhere = urlsplit(os.environ.get("PREFECT_API_URL", "http://localhost")).hostname not in LOOPBACK
    key = {} if is_elsewhere else protection(os.environ.get(KEY) or stored_key(home), port)
    ours = {
        **SETTINGS,
        **key,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return {**ours, **os.environ, "PATH": ours["PATH"]}


@contextmanager
def joined_server(data: Path) -> Iterator[Callable[[], None]]:
    """Use the Prefect server of a data root during a `with` block; a server is started if none runs.

    If `PREFECT_API_URL` is set, the server at that address is used. The context manager yields a function that waits
    until the server answers. Before calling it, the caller can import slow modules while the server starts.
    """
    home = prefect_home(data)
    if os.environ.get("PREFECT_API_URL"):
        os.environ.update(client_key(home, os.environ))
        yield lambda: None
        return
    make_private(home)
    with (home / USERS_LOCK).open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with locked(home / "start"):
            port = running_port(home)
            variables, process = (QUIET | prefect_environment(data, port), None) if port else start(data)
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield partial(wait_until_up, f"{variables['PREFECT_API_URL']}/health", process, home)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def running_port(home: Path) -> int | None:
    """Return the port of the running server of a Prefect home; None if no server runs."""
    descriptor = lock_server(home)
    if descriptor is None:
        return int((home / PORT_FILE).read_text(encoding="utf-8"))
    os.close(descriptor)
    return None


def lock_server(home: Path) -> int | None:
    """Take the server lock of a Prefect home; return its file descriptor, or None if a server holds the lock."""
    descriptor = os.open(home / SERVER_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def start(data: Path) -> tuple[dict[str, str], subprocess.Popen[bytes]]:
    """Start a server that ends when no command uses it; return the commands' environment variables and the process."""
    home = prefect_home(data)
    lock = lock_server(home)
    if lock is None:
        raise AssertionError("only one command at a time starts a server")
    # The socket is bound here and passed to the server, so that no other program can take the port. The server also
    # inherits the lock, which shows other commands that the server runs. The server has a session of its own, so that
    # Ctrl-C does not stop it before the commands that use it.
    with socket.create_server((HOST, 0)) as listener, (home / LOG_FILE).open("wb") as log_file:
        port = listener.getsockname()[1]
        variables = QUIET | prefect_environment(data, port)
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(listener.fileno()), str(lock), str(home / USERS_LOCK)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log_file,
            pass_fds=[listener.fileno(), lock],
            start_new_session=True,
            env=variables,
        )
    write_text(home / PORT_FILE, f"{port}\n")
    os.close(lock)
    return variables, process


def wait_until_up(url: str, process: subprocess.Popen[bytes] | None, home: Path) -> None:
    """Wait until a server answers. If another command has started the server, `process` is None."""
    deadline, is_alive = time.monotonic() + START_TIMEOUT_S, True
    while is_alive and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - the URL is on the loopback address
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
            # `running_port` takes the server lock for a moment, during which `start` in another command would fail
            with locked(home / "start"):
                is_alive = process.poll() is None if process else running_port(home) is not None
        else:
            return
    raise HubbleclipError(f"the Prefect server did not start, or was killed: see {home / LOG_FILE}, or add --no-server")


def serve(data: Path, port: int, environment: Mapping[str, str]) -> None:
    """Run the server of a data root until Ctrl-C or SIGTERM, after which it ends within seconds.

    Prefect's own command would wait up to 12 s for its services to end. This function does not wait, because the
    services keep their state in the database.
    """
    home = prefect_home(data)
    deadline = time.monotonic() + 2 * LINGER_S
    while lock_server(home) is None:  # this process holds the lock until it ends
        if time.monotonic() > deadline:
            there = f"http://{HOST}:{running_port(home)}"
            raise HubbleclipError(f"a server of {data} runs at {there}: open its pages there, or wait until it ends")
        time.sleep(0.5)
    # This socket only checks that the port is free. It is closed at once, because it would accept clients before the
    # server is ready.
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise HubbleclipError(f"cannot listen on port {port} ({error.strerror}): choose another --port") from error
    write_text(home / PORT_FILE, f"{port}\n")
    os.environ.update(environment)
    import uvicorn  # noqa: PLC0415 - slow imports, which the clients of a server do not need
    from prefect.server.api.server import create_app  # noqa: PLC0415

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if sig == signal.SIGINT:
                write_stopped()
            end_soon(INTERRUPTED if sig == signal.SIGINT else 0)
            super().handle_exit(sig, frame)

    app = create_app(final=True)
    Server(uvicorn.Config(app, host=HOST, port=port, log_level="warning", timeout_graceful_shutdown=1)).run()


def main() -> None:
    """Serve on an inherited socket until no command has used the server for `LINGER_S`."""
    import uvicorn  # noqa: PLC0415 - slow imports, which the clients of a server do not need
    from prefect.server.api.server import create_app  # noqa: PLC0415

    listener, lock, users_lock = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    server = uvicorn.Server(uvicorn.Config(create_app(final=True), log_level="critical", timeout_graceful_shutdown=1))

    def watch() -> None:
        with users_lock.open("a") as users:
            used_at = time.monotonic()
            while time.monotonic() - used_at < LINGER_S:
                time.sleep(0.2)
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    used_at = time.monotonic()
                else:
                    fcntl.flock(users, fcntl.LOCK_UN)
            fcntl.flock(users, fcntl.LOCK_EX)  # no command can join before this process has ended
            os.close(lock)  # the next command finds this lock free, and starts a new server
            server.should_exit = True
            time.sleep(1)
            # Prefect's services can be killed, because they keep their state in the database.
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=listener)])


if __name__ == "__main__":
    main()
