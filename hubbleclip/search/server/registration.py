"""The file in the data folder by which commands find the running server."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Where the server of a data folder listens.

    `instance` is a secret of server and file. It tells the server from another that got the same port, which might be
    that of another user, who waits for the token.
    """

    host: str
    port: int
    instance: str
    token: str | None
    pid: int


def proof_of(instance: str, challenge: str) -> str:
    """Compute what a server answers to a challenge, by which it shows that it knows its own secret."""
    return hmac.new(instance.encode(), challenge.encode(), "sha256").hexdigest()


@contextmanager
def registered(path: Path, registration: Registration) -> Iterator[None]:
    """Keep a server's registration in a file, which only its owner can read, while the block runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(registration), file)
    part.replace(path)
    try:
        yield
    finally:
        if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["instance"] == registration.instance:
            path.unlink()
