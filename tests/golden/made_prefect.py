"""Prefect in this process: flows are run, and what its server is given is noted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from made_sky import NOW

from flows import artifacts, deployment, pipeline

ARTIFACTS = ("create_progress", "update_progress", "create_table", "create_image", "create_link")


class MadePrefect:
    """Engine, context of runs, client and server; each call is noted."""

    api_url = "http://127.0.0.1:4200/api"

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.noted: list[Any] = []
        self.runs: list[SimpleNamespace] = []
        self.deployment = SimpleNamespace(id=None)
        self.health, self.exit_codes = iter(["no answer"]), iter([1])
        patch.setattr(pipeline.Flow, "__call__", lambda *given, **named: self.run(*given, **named))  # noqa: PLW0108 - bound to the flow
        patch.setattr(pipeline, "runtime", self)
        for module in (pipeline, artifacts):
            patch.setattr(module, "FlowRunContext", self)
        for kind in ARTIFACTS:
            patch.setattr(artifacts.artifacts, f"{kind}_artifact", partial(self.note, kind))
        patch.setattr(pipeline, "create_table_artifact", partial(self.note, "create_table"))
        patch.setattr(pipeline, "emit_event", partial(self.note, "event"))
        patch.setattr(pipeline, "run_deployment", self.run_deployment)
        patch.setattr(artifacts, "add_asset_metadata", partial(self.note, "asset"))
        patch.setattr(artifacts, "materialize", self.materialize)
        patch.setattr(deployment, "START_TIMEOUT_S", 0)
        patch.setattr(deployment, "get_client", lambda **_: nullcontext(self))
        patch.setattr(deployment, "subprocess", SimpleNamespace(run=self.run_command))
        patch.setattr(deployment, "Webhook", lambda **of: SimpleNamespace(save=partial(self.note, "webhook", of)))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self.note, name)

    def note(self, *given: Any, **named: Any) -> UUID:
        self.noted.append([*given, named] if named else list(given))
        return UUID(int=len(self.noted))

    @property
    def flow_run(self) -> SimpleNamespace:
        return self.runs[-1]

    def get(self) -> SimpleNamespace | None:
        return SimpleNamespace(flow_run=self.flow_run) if self.runs else None

    def run(self, flow: Any, *given: Any, **named: Any) -> Any:
        parent = self.flow_run.id if self.runs else None
        own = {"id": UUID(int=len(self.noted)), "deployment_id": None if parent else self.deployment.id}
        parameters = inspect.signature(flow.fn).bind(*given, **named).arguments
        of = {"flow_name": flow.name, "parameters": parameters, "scheduled_start_time": NOW}
        self.runs.append(SimpleNamespace(parent_flow_run_id=parent, **own, **of))
        name = flow.flow_run_name if isinstance(flow.flow_run_name, str) else flow.flow_run_name()
        place = "  " * len(self.runs)
        own = ["its own run"] * bool(parameters.get("is_own"))
        self.note(f"{place}{name} begins", flow.retries, flow.retry_delay_seconds, *own)
        try:
            return flow.fn(*given, **named)
        finally:
            self.runs.pop()
            self.note(f"{place}{name} ends")

    def materialize(self, *keys: str, **named: Any) -> Callable[..., Any]:
        self.note("materialize", *keys, **named)
        return lambda record: record

    def run_deployment(self, name: str, **named: Any) -> SimpleNamespace:
        self.note("run_deployment", name, **named)
        return SimpleNamespace(state=SimpleNamespace(is_completed=lambda: name != "fails"))

    def run_command(self, command: list[str], **named: Any) -> SimpleNamespace:
        self.note("command", *command[1:-1])
        return SimpleNamespace(returncode=next(self.exit_codes, 0), stderr="no such flow")

    def api_healthcheck(self) -> str | None:
        return next(self.health, None)

    def read_work_pools(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="cpu")]

    def read_deployment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(id=self.note("read_deployment_by_name", name))

    def read_automations(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name, id=name) for name in ("hubbleclip: old", "mine")]
