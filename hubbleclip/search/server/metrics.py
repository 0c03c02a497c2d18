"""Numbers of the running server, in the text format of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Metrics:
    """Counters of one server.

    Parameters
    ----------
    num_open
        Function that returns the number of searches that wait or run.
    num_tiles
        Function that returns the number of tiles of the index.

    """

    def __init__(self, num_open: Callable[[], int], num_tiles: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "hubbleclip_requests", "Requests by route and status", ["route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "hubbleclip_request_seconds",
            "Time from request to response",
            ["route"],
            registry=self._registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        Gauge("hubbleclip_searches_open", "Searches that wait or run", registry=self._registry).set_function(num_open)
        Gauge("hubbleclip_index_tiles", "Tiles of the index", registry=self._registry).set_function(num_tiles)

    def text(self) -> bytes:
        """Write all numbers."""
        return generate_latest(self._registry)


class MetricsMiddleware:
    """Counts and times the requests by route, never by the path itself, of which there are endlessly many."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)
