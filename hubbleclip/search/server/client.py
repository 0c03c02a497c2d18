"""Ask the server of a data folder, if one runs."""

from __future__ import annotations

import hmac
import http.client
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.server.registration import Registration, proof_of

CONNECT_S, ANSWER_S = 1.0, 60.0


def find_server(path: Path) -> Registration | None:
    """Find the running server of a data folder."""
    challenge = secrets.token_hex(16)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = Registration(**{field.name: values[field.name] for field in fields(Registration)})
        _, answer = _send(replace(found, token=None), "GET", f"/healthz?challenge={challenge}", None, CONNECT_S)
        is_it = hmac.compare_digest(answer["proof"], proof_of(found.instance, challenge))
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return None
    return found if is_it else None


def ask(
    server: Registration, path: str, parameters: Sequence[tuple[str, str]] = (), body: Mapping[str, Any] | None = None
) -> Any:
    """Ask a server."""
    url = f"{path}?{urlencode(parameters)}" if parameters else path
    try:
        status, answer = _send(server, "GET" if body is None else "POST", url, body, ANSWER_S)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise HubbleclipError(f"the search server at port {server.port} does not answer: {error}") from error
    if status != 200:
        raise HubbleclipError(answer.get("detail", f"the search server answers with status {status}"))
    return answer


def _send(
    server: Registration, method: str, url: str, body: Mapping[str, Any] | None, timeout_s: float
) -> tuple[int, Any]:
    """Send a request and decode its answer."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=timeout_s)
    headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, url, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
