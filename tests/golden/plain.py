"""Records, requests and files as plain data: without times, and without what depends on the machine."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tests.bad_server import BadServer

HEADERS = ("Range", "If-Range", "If-None-Match", "Authorization", "Cookie")


def facts(record: Any) -> dict[str, Any]:
    """The values of a record that are known, without times."""
    values: Mapping[str, Any] = asdict(record) if is_dataclass(record) else record
    return {name: one for name, one in values.items() if one is not None and not name.endswith("_at")}


def all_facts(records: Iterable[Any]) -> list[dict[str, Any]]:
    return [facts(record) for record in records]


def requests(server: BadServer) -> list[Any]:
    """What a server was asked for since the last call, in order."""
    # astroquery asks for the columns of a service once per process, so in one test of many
    seen = [request(one) for one in server.seen if not one["path"].startswith("/portal/")]
    server.seen.clear()
    return seen


def request(seen: Mapping[str, str]) -> Any:
    line = " ".join([f"{seen['method']} {seen['path']}", *(f"{name}={seen[name]}" for name in HEADERS if name in seen)])
    fields = dict(parse_qsl(seen["body"])) if not seen["body"].startswith("{") else json.loads(seen["body"])
    if "request" in fields:
        fields = json.loads(fields["request"])
        del fields["cacheBreaker"]  # it is random
    return [line, fields] if fields else line


def files(root: Path) -> dict[str, Any]:
    """The files below a folder: the JSON lines of a packed one, a short text, or else the size."""
    found: dict[str, Any] = {}
    for path in sorted(one for one in root.rglob("*") if one.is_file()):
        data = path.read_bytes()
        if path.name.endswith(".json.gz"):
            about, rows = map(json.loads, gzip.decompress(data).splitlines())
            found[path.relative_to(root).as_posix()] = [about, len(rows)]
        elif path.name.endswith(".about.json"):
            found[path.relative_to(root).as_posix()] = facts(json.loads(data))
        else:
            is_text = len(data) < 100 and data.isascii()
            found[path.relative_to(root).as_posix()] = data.decode() if is_text else len(data)
    return found


def without(value: Any, *names: tuple[str, str]) -> Any:
    """Plain JSON in which texts, such as the address of a server, are replaced."""
    text = json.dumps(value, default=str)
    for old, new in names:
        text = text.replace(old, new)
    return json.loads(text)
