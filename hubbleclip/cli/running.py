"""Run a stage for a command: as a Prefect flow, or in this process alone."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from hubbleclip.cli.options import Options
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.layout import Layout


def run_flow(module: str, name: str, options: Options, **arguments: Any) -> Any:
    """Check the settings, then run the flow `name` of `module`, and return its result.

    A private Prefect server is started where the environment names none. Under torchrun every process runs the flow,
    each with a server of its own.
    """
    from flows.private_server import prefect_server  # noqa: PLC0415 - commands without a server import no flows

    layout = Layout(options.settings().root)
    redirect_caches(layout)
    with prefect_server(layout.home / f"prefect-{os.environ.get('RANK', '0')}") as wait_until_up:
        flow = getattr(import_experiment(module) if module.startswith("experiments") else import_module(module), name)
        wait_until_up()
        with import_module("flows.scheduled").without_heartbeat():
            return flow(options.profile, options.overrides(), **arguments)


def import_experiment(module: str) -> Any:
    """A module of `experiments/`. Raises HubbleclipError when hubbleclip was installed from a wheel."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "experiments":
            raise
        raise HubbleclipError("experiments need a checkout: clone the repository and run `make setup` there") from error


def run_in_process(options: Options, *stages: str, **arguments: Any) -> None:
    """Run stages, as `module:function` below `hubbleclip.pipeline`, in this process; nothing imports Prefect."""
    settings = options.settings()
    redirect_caches(Layout(settings.root))
    for stage in stages:
        module, _, function = stage.partition(":")
        getattr(import_module(f"hubbleclip.pipeline.{module}"), function)(settings, **arguments)


def redirect_caches(layout: Layout) -> None:
    """Let the libraries write their caches below the data root and nowhere else."""
    homes = {
        "MPLCONFIGDIR": "matplotlib",
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": "config",
        "HF_HOME": "huggingface",
    }
    for variable, folder in homes.items():
        os.environ.setdefault(variable, str((layout.home / folder).absolute()))
    for folder in ("cache/astropy", "config/astropy"):
        (layout.home / folder).mkdir(parents=True, exist_ok=True)


def should_poll_first(settings: Settings) -> bool:
    """Whether to poll the archive before a private Prefect server is started, which takes longer than the poll.

    A first run has work to do, and a server of the user's own records every run.
    """
    layout = Layout(settings.root)
    redirect_caches(layout)
    return layout.catalog.is_file() and not settings.archive.from_raw and not os.environ.get("PREFECT_API_URL")
