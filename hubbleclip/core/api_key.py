"""Protect the API of a Prefect server: its users can run any command on the worker, by creating a deployment.

The key is a password of HTTP basic authentication. Requests of web pages on other sites are refused too, by CORS and by
CSRF protection.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from hubbleclip.core.io import locked, make_folder, write_text

KEY, SERVER_KEY = "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"
KEY_FILE = "api-key"
USER = "hubbleclip"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def prefect_home(data: Path) -> Path:
    """Return the absolute path of the folder of the Prefect server for scheduled runs."""
    return (data / ".prefect").absolute()


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can open; a folder that exists gets the same permissions."""
    make_folder(folder)
    folder.chmod(0o700)


def new_key() -> str:
    """Make a random key."""
    return f"{USER}:{secrets.token_urlsafe(32)}"


def stored_key(home: Path) -> str:
    """Read the key of a server from a file that only its owner can read; if there is none, make the key."""
    path = home / KEY_FILE
    with locked(home):  # the server and the worker may start at the same time
        if not path.is_file():
            write_text(path, new_key() + "\n")
        path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()


def protection(key: str, port: int) -> dict[str, str]:
    """Make the environment variables that protect a server on loopback and let its clients use it."""
    return {
        KEY: key,
        SERVER_KEY: key,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
    }


def client_key(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable with the stored key if `PREFECT_API_URL` names a local server and the variable is not set."""
    # the key of this machine is not sent to other machines
    is_local = urlsplit(environment.get("PREFECT_API_URL", "")).hostname in LOOPBACK
    if KEY in environment or not is_local or not (home / KEY_FILE).is_file():
        return {}
    return {KEY: stored_key(home)}
