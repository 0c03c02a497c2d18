"""Fault plans, which determine from a seed the faults that the simulated archive injects into requests."""

from __future__ import annotations

import json
import random
from collections import Counter
from urllib.parse import parse_qs

from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubbleclip.config.settings import Section
from tests.faulty_archive.faults import FAULT_INJECTORS, Exchange

COUNTS_PATH, REQUESTS_PATH = "/faults", "/requests"  # The middleware serves both paths without faults.
STORM_FRACTION = 0.38  # Fraction of the requests that get a fault; see `storm_plan`.
ANY_RESPONSE = ("500", "502", "503", "504", "429", "429_date", "reset", "hang")
BODY_FAULTS = ("slow_drip", "truncated", "wrong_length", "empty")
TABLE_FAULTS = ("busy", "bad_json", "duplicated_page", "missing_page", "null_columns", "shuffled")
STORM_FAULTS = {
    "/api/v0/invoke": (*ANY_RESPONSE, *BODY_FAULTS, *TABLE_FAULTS, "html", "short_length", "corrupted"),
    "/api/v0.1/Download/": (*ANY_RESPONSE, *BODY_FAULTS, "html", "short_length", "corrupted"),
    "/portal/": (*ANY_RESPONSE, *BODY_FAULTS, "html", "bad_json"),
    "/hst/abstracts.cat": (*ANY_RESPONSE, *BODY_FAULTS, "html"),
    "/hst-program-info/download/": (*ANY_RESPONSE, *BODY_FAULTS, "html"),
    "/hst/proposal_abstracts.html": (*ANY_RESPONSE, *BODY_FAULTS),
    "/hst-program-info/program/": (*ANY_RESPONSE, *BODY_FAULTS),
}
"""Kinds of fault by path prefix. Each path has only the kinds that a client can recognise there. For example, the paths
of texts lack `corrupted`, because a client cannot notice a changed letter, and the paths of web pages lack `html`.
"""


class FaultRule(Section):
    """Rule of a fault plan: one kind of fault, and the requests into which it is injected."""

    kind: str
    """Kind of fault, a key of `FAULT_INJECTORS`."""
    path: str = "/"
    """Path prefix: the rule applies to requests whose path starts with this text."""
    times: int = Field(0, ge=0)
    """Maximum number of faults that this rule injects; 0 means no limit."""
    share: float = Field(1.0, ge=0, le=1)
    """Fraction of the matching requests that get the fault, from 0 to 1."""

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind not in FAULT_INJECTORS:
            raise ValueError(f"unknown kind of fault: choose one of {', '.join(FAULT_INJECTORS)}")
        return kind


class FaultPlan(Section):
    """Fault plan of a server. The rules that match a request are tried in order, until a random draw selects one."""

    rules: tuple[FaultRule, ...] = ()
    """Rules, in the order in which they are tried."""
    seed: int = 0
    """Seed of the random draws."""
    max_in_a_row: int = Field(0, ge=0)
    """Maximum number of consecutive faults for repetitions of the same request; 0 means no limit. With a limit, a
    request that is repeated often enough succeeds.
    """
    longest_s: float = Field(30.0, gt=0)
    """Maximum duration of a hang or a slow drip, in seconds, after which the connection is closed."""


def storm_plan(seed: int = 0) -> FaultPlan:
    """Make a plan that injects, on each path, every kind of fault that a client can recognise there."""
    rules: list[FaultRule] = []
    for path, kinds in STORM_FAULTS.items():
        # With this share per kind, all kinds of a path together affect a fraction STORM_FRACTION of its requests.
        share = 1 - (1 - STORM_FRACTION) ** (1 / len(kinds))
        rules += [FaultRule(kind=kind, path=path, share=share) for kind in kinds]
    return FaultPlan(rules=tuple(rules), seed=seed, max_in_a_row=2)


class FaultMiddleware:
    """ASGI middleware that injects faults into the requests to the archive, according to a plan.

    A request to COUNTS_PATH returns the number of injected faults by kind. A request to REQUESTS_PATH returns a list of
    `[request key, kind of fault or "", number of times]`.
    """

    def __init__(self, app: ASGIApp, plan: FaultPlan) -> None:
        self.app = app
        self.plan = plan
        self.injected: Counter[str] = Counter()
        self.requested: Counter[tuple[str, str]] = Counter()
        self._num_injected = [0] * len(plan.rules)  # Number of faults by rule.
        self._num_requests: Counter[str] = Counter()
        self._in_a_row: Counter[str] = Counter()  # Number of consecutive faults by request key.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or inject a fault into it."""
        if scope["path"] == COUNTS_PATH:
            await JSONResponse(self.injected)(scope, receive, send)
            return
        if scope["path"] == REQUESTS_PATH:
            await JSONResponse([[*request_fault, times] for request_fault, times in self.requested.items()])(
                scope, receive, send
            )
            return
        body = await Request(scope, receive).body()
        key = request_key(scope, body)
        kind, rng = self.draw_fault(scope["path"], key)
        self.requested[key, kind or ""] += 1
        replay = _replay(body, receive)  # The body was read to compute the key.
        if kind is None:
            await self.app(scope, replay, send)
            return
        self.injected[kind] += 1
        exchange = Exchange(
            app=self.app, scope=scope, receive=replay, send=send, rng=rng, longest_s=self.plan.longest_s
        )
        # The injector returns False if the response had nothing to damage, such as a table without rows.
        if not await FAULT_INJECTORS[kind](exchange):
            self.injected[kind] -= 1
            self.requested[key, kind] -= 1
            self.requested[key, ""] += 1

    def draw_fault(self, path: str, key: str) -> tuple[str | None, random.Random]:
        """Draw the fault for the next request with a given key."""
        rng = random.Random(
            f"{self.plan.seed}:{key}:{self._num_requests[key]}"
        )  # differs for each repetition of the request
        self._num_requests[key] += 1
        is_spared = 0 < self.plan.max_in_a_row <= self._in_a_row[key]  # 0 means no limit.
        for index, rule in enumerate(self.plan.rules if not is_spared else ()):
            has_faults_left = not rule.times or self._num_injected[index] < rule.times
            # Each matching rule draws once, in order, until a draw succeeds.
            if path.startswith(rule.path) and has_faults_left and rng.random() < rule.share:
                self._num_injected[index] += 1
                self._in_a_row[key] += 1
                return rule.kind, rng
        self._in_a_row[key] = 0
        return None, rng


def request_key(scope: Scope, body: bytes) -> str:
    """Compute a key that identifies a request and is equal for each repetition of the request."""
    query = scope["query_string"].decode("latin-1")
    try:
        query_json = json.loads(parse_qs(body.decode() or query)["request"][0])
        query_json.pop("cacheBreaker", None)  # This field differs in every request.
        query = json.dumps(query_json, sort_keys=True)
    except (KeyError, ValueError, AttributeError):
        query += body.decode("latin-1")
    return f"{scope['path']}?{query}"


def _replay(body: bytes, receive: Receive) -> Receive:
    """Make an ASGI `receive` callable that returns the body again, then the messages that follow it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
