"""Ask the server of a data folder, if one runs."""

from __future__ import annotations

import http.client
import json
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.server.registration import Registration

CONNECT_S, ANSWER_S = 1.0, 60.0


def find_server(path: Path) -> Registration | None:
    """Find the running server of a data folder.

    Parameters
    ----------
    path
        File in which a server registers itself.

    Returns
    -------
    Registration or None
        Where it listens; None if no server runs, or the file is from one that was killed.

    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = Registration(**{field.name: values[field.name] for field in fields(Registration)})
        status, answer = _get(found, "/healthz", CONNECT_S)
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return None
    return found if status == 200 and answer.get("instance") == found.instance else None


def ask(server: Registration, path: str, parameters: list[tuple[str, str]]) -> Any:
    """Ask a server.

    Parameters
    ----------
    server
        Where it listens.
    path
        Path of the API.
    parameters
        Parameters of the URL.

    Returns
    -------
    Any
        The answer, decoded from JSON.

    Raises
    ------
    HubbleclipError
        If the server refuses; the message is the server's.

    """
    try:
        status, answer = _get(server, f"{path}?{urlencode(parameters)}", ANSWER_S)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise HubbleclipError(f"the search server at port {server.port} does not answer: {error}") from error
    if status != 200:
        raise HubbleclipError(answer.get("detail", f"the search server answers with status {status}"))
    return answer


def _get(server: Registration, url: str, timeout_s: float) -> tuple[int, Any]:
    """Send a request and decode its answer."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=timeout_s)
    headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
    try:
        connection.request("GET", url, headers=headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
