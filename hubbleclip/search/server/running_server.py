"""The running server of a data folder: the file in which commands find its address, and a client for requests to it."""

from __future__ import annotations

import hmac
import http.client
import json
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import atomic_write

CONNECT_S, ANSWER_S = 1.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """Where the server of a data folder listens.

    The server writes this record to a file that clients read. The record contains the access token, `token`, and a
    secret, `instance`. Another user's server may have taken the port. Therefore a client sends the token only to a
    server that proves that it knows the secret.
    """

    host: str
    port: int
    instance: str
    token: str | None
    pid: int


def proof_of(instance: str, challenge: str) -> str:
    """Compute the HMAC-SHA256 of a challenge, which proves that a server knows the secret `instance`."""
    return hmac.new(instance.encode(), challenge.encode(), "sha256").hexdigest()


@contextmanager
def registered(path: Path, server: RunningServer) -> Iterator[None]:
    """Until the `with` block ends, keep a file that says where a server listens; only the file's owner can read it."""
    with atomic_write(path, is_synced=False) as part:
        part.touch(0o600)
        part.write_text(json.dumps(asdict(server)), encoding="utf-8")
    try:
        yield
    finally:
        if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["instance"] == server.instance:
            path.unlink()


def find_server(path: Path) -> RunningServer | None:
    """Find the running server of a data folder; None if no server proves that it knows the secret in the file."""
    challenge = secrets.token_hex(16)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = RunningServer(**{field.name: values[field.name] for field in fields(RunningServer)})
        _, answer = _send(replace(found, token=None), f"/healthz?challenge={challenge}", CONNECT_S)
        is_it = hmac.compare_digest(answer["proof"], proof_of(found.instance, challenge))
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return None
    return found if is_it else None


def ask(server: RunningServer, url: str) -> Any:
    """Send a request to a server and return its answer, decoded from JSON."""
    try:
        status, answer = _send(server, url, ANSWER_S)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise HubbleclipError(f"the search server at port {server.port} does not answer: {error}") from error
    if status != 200:
        raise HubbleclipError(answer.get("detail", f"the search server answers with status {status}"))
    return answer


def _send(server: RunningServer, url: str, timeout_s: float) -> tuple[int, Any]:
    """Send a request and decode its answer."""
    headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=timeout_s)) as connection:
        connection.request("GET", url, None, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
