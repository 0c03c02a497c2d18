"""Faults on demand: the ways in which real archives fail, drawn from a seed, to test clients against."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

from pydantic import Field, ValidationError, field_validator
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubbleclip.config.settings import Section
from hubbleclip.core.errors import SettingsError
from hubbleclip.simulator.random_draws import python_rng
from hubbleclip.simulator.server.fault_injection import STRIKES, Exchange

COUNTS_PATH, REQUESTS_PATH = "/faults", "/requests"
STORM_SHARE = 0.38
EVERYWHERE = ("500", "502", "503", "504", "429", "429_date", "429_clock_skew", "clock_skew", "reset", "hang")
BYTES = ("slow_drip", "truncated", "wrong_length", "empty")
TABLES = ("busy", "bad_json", "duplicated_page", "missing_page", "null_columns", "shuffled")
STORM_KINDS = {
    "/api/v0/invoke": (*EVERYWHERE, *BYTES, *TABLES, "html", "short_length", "corrupted"),
    "/api/v0.1/Download/": (*EVERYWHERE, *BYTES, "html", "short_length", "corrupted"),
    "/portal/": (*EVERYWHERE, *BYTES, "html", "bad_json"),
    "/hst/abstracts.cat": (*EVERYWHERE, *BYTES, "html"),
    "/hst-program-info/download/": (*EVERYWHERE, *BYTES, "html"),
    "/hst/proposal_abstracts.html": (*EVERYWHERE, *BYTES),
    "/hst-program-info/program/": (*EVERYWHERE, *BYTES),
}
"""What fits the answers of each path: a text has nothing that would show a flipped letter, a page is HTML anyway."""


class FaultRule(Section):
    """One fault and the requests that it strikes."""

    kind: str
    """What goes wrong: a key of `STRIKES`."""
    path: str = "/"
    """Only requests whose path begins so are struck."""
    times: int = Field(0, ge=0)
    """Strike so many times at most; 0 sets no limit."""
    share: float = Field(1.0, ge=0, le=1)
    """Share of the matching requests that are struck."""

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind not in STRIKES:
            raise ValueError(f"the kinds are {', '.join(STRIKES)}")
        return kind


class FaultPlan(Section):
    """The faults of a server, the first matching rule first."""

    rules: tuple[FaultRule, ...] = ()
    """The rules in order."""
    seed: int = 0
    """Seed of the draw."""
    max_in_a_row: int = Field(0, ge=0)
    """Strike the same request so many times in a row at most, so that it gets through in the end; 0 sets no limit."""
    longest_s: float = Field(30.0, gt=0)
    """A hang or a slow drip ends after so many seconds, when the connection is closed."""


def storm(seed: int = 0) -> FaultPlan:
    """Every kind of fault on all paths that it fits, on STORM_SHARE of requests that are made once.

    With two strikes in a row at most this leaves about a third where each is repeated until it gets through.
    """
    rules: list[FaultRule] = []
    for path, kinds in STORM_KINDS.items():
        share = 1 - (1 - STORM_SHARE) ** (1 / len(kinds))
        rules += [FaultRule(kind=kind, path=path, share=share) for kind in kinds]
    return FaultPlan(rules=tuple(rules), seed=seed, max_in_a_row=2)


NAMED: dict[str, Callable[[int], FaultPlan]] = {"storm": storm}


def read_plan(text: str) -> FaultPlan:
    """The plan that `NAME`, `NAME:SEED` or the path of a JSON file stands for. Raises SettingsError."""
    name, _, seed = text.partition(":")
    if name in NAMED and (not seed or seed.isdigit()):
        return NAMED[name](int(seed or 0))
    try:
        return FaultPlan.model_validate_json(Path(text).read_bytes())
    except OSError as error:
        names = ", ".join(f"{name}, {name}:SEED" for name in NAMED)
        raise SettingsError(f"faults {text!r}: give {names} or the path of a JSON file ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SettingsError(f"faults {text!r}: {place}: {first['msg']}") from error


class FaultMiddleware:
    """Stands between the network and the archive, and strikes by plan.

    COUNTS_PATH tells how often it struck by kind, REQUESTS_PATH what was asked: `[request, kind or "", times]`.
    """

    def __init__(self, app: ASGIApp, plan: FaultPlan) -> None:
        self.app = app
        self.plan = plan
        self.injected: Counter[str] = Counter()
        self.asked: Counter[tuple[str, str]] = Counter()
        self._struck = [0] * len(plan.rules)
        self._seen: Counter[str] = Counter()
        self._in_a_row: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or strike it."""
        if scope["path"] == COUNTS_PATH:
            await JSONResponse(self.injected)(scope, receive, send)
            return
        if scope["path"] == REQUESTS_PATH:
            await JSONResponse([[*what, times] for what, times in self.asked.items()])(scope, receive, send)
            return
        body = await _read(receive)
        key = request_key(scope, body)
        kind, rng = self.draw(scope["path"], key)
        self.asked[key, kind or ""] += 1
        replay = _replay(body, receive)
        if kind is None:
            await self.app(scope, replay, send)
            return
        self.injected[kind] += 1
        exchange = Exchange(
            app=self.app, scope=scope, receive=replay, send=send, rng=rng, longest_s=self.plan.longest_s
        )
        if not await STRIKES[kind](exchange):
            self.injected[kind] -= 1
            self.asked[key, kind] -= 1
            self.asked[key, ""] += 1

    def draw(self, path: str, key: str) -> tuple[str | None, random.Random]:
        """The kind of fault for the next request of this key, if any.

        The draw hangs on the request and how often it came, not on what else came meanwhile.
        """
        rng = python_rng(self.plan.seed, key, self._seen[key])
        self._seen[key] += 1
        is_spared = 0 < self.plan.max_in_a_row <= self._in_a_row[key]
        for index, rule in enumerate(self.plan.rules if not is_spared else ()):
            is_left = not rule.times or self._struck[index] < rule.times
            if path.startswith(rule.path) and is_left and rng.random() < rule.share:
                self._struck[index] += 1
                self._in_a_row[key] += 1
                return rule.kind, rng
        self._in_a_row[key] = 0
        return None, rng


def request_key(scope: Scope, body: bytes) -> str:
    """What is asked for, the same at each repetition: astroquery adds a `cacheBreaker` of its own to every query."""
    query = scope["query_string"].decode("latin-1")
    try:
        asked = json.loads(parse_qs(body.decode() or query)["request"][0])
        asked.pop("cacheBreaker", None)
        query = json.dumps(asked, sort_keys=True)
    except (KeyError, ValueError, AttributeError):
        query += body.decode("latin-1")
    return f"{scope['path']}?{query}"


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` with the body that was read from it once more."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
