"""Run stages for a command: as a Prefect flow, or in this process without Prefect."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from hubbleclip.catalog.lock import check_unlocked
from hubbleclip.core.errors import DiskFullError
from hubbleclip.core.io import check_writable, make_folder
from hubbleclip.core.layout import Layout

if TYPE_CHECKING:
    from hubbleclip.cli.options import Options
    from hubbleclip.config.settings import Settings

log = logging.getLogger("hubbleclip.cli")
ARCHIVE_FLOWS = ("ingest", "dataset", "pipeline")
"""Flows that query the archive."""
NEEDS_DATA = ("train", "sweep", "evaluate", "index")
"""Flows that need a dataset or a run."""
STAGES = {
    "ingest": ("ingest.run:ingest",),
    "tiles": ("tiles.run:tiles",),
    **{name: (f"{name}:{name}",) for name in ("captions", "shards", "dataset", "train", "evaluate", "index")},
    "pipeline": (
        "train:check_training",
        "dataset:dataset",
        "train:train",
        "evaluate:evaluate_own",
        "index:index_promoted",
    ),
}
"""Stages of each command, as `module:function` below `hubbleclip.pipeline`."""
CACHE_FOLDERS = {
    "MPLCONFIGDIR": "matplotlib",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "HF_HOME": "huggingface",
}
"""Folder of a library's cache, below `Layout.home`, by the environment variable that sets the folder."""


def check_first(name: str, settings: Settings, run: str = "") -> None:
    """Check early that the needed dataset or run exists, because starting a server and importing torch take seconds.

    With a remote store nothing is checked, because its content is not known yet.
    """
    layout = Layout(settings.root)
    if settings.store or name not in NEEDS_DATA:
        return
    from hubbleclip.pipeline.pending_work import newest_dataset
    from hubbleclip.pipeline.promotion import read_promoted

    (read_promoted if name == "index" else newest_dataset)(layout)
    check_runs(settings, run)


def check_runs(settings: Settings, *runs: str) -> None:
    """Check that runs are finished, before torch is imported; with a remote store, nothing is checked."""
    from hubbleclip.pipeline.promotion import find_run

    for run in filter(None, runs if not settings.store else ()):
        find_run(Layout(settings.root), run)


def run_stage(name: str, options: Options, server: bool, **arguments: Any) -> Any:
    """Check the settings, and run a command as a Prefect flow or in this process.

    A flow that would have nothing to do is not run. Under torchrun, the first process runs the flow, and the other
    processes train without Prefect.
    """
    settings = options.settings()
    layout = Layout(settings.root)
    if name in ARCHIVE_FLOWS:  # checked first, because the start of a server takes seconds
        from hubbleclip.archives import open_archive

        open_archive(settings.archive, settings.fetch, layout)
    redirect_caches(layout)
    check_first(name, settings, arguments.get("run", ""))
    is_flow = server and os.environ.get("RANK", "0") == "0"
    if is_flow and not any(arguments.values()):
        from hubbleclip.pipeline.pending_work import has_work

        if not has_work(name, settings):
            log.info("%s: nothing to do", name)
            return None
    if name not in ("train", "sweep"):  # train and sweep do not write the catalog
        check_unlocked(layout)
    if is_flow:
        return run_flow(name, options, settings, **arguments)
    if name == "sweep":
        from hubbleclip.pipeline.train import sweep

        return sweep(options.profile, options.overrides(), **arguments)
    for stage in STAGES[name]:
        resolve_name(f"hubbleclip.pipeline.{stage}")(settings, **arguments)
    return None


def run_flow(name: str, options: Options, settings: Settings, **arguments: Any) -> Any:
    """Run a Prefect flow on the server of the data root."""
    from flows.server import joined_server

    with ExitStack() as stack:
        stack.push(partial(check_disk_after, Layout(settings.root).home))
        wait_until_up = stack.enter_context(joined_server(settings.data))
        # The flow is imported while the server starts, because both take seconds.
        from flows import pipeline as flows

        flow = getattr(flows, name)
        wait_until_up()
        with flows.without_heartbeat():
            given = [settings] if "settings" in flow.parameters.properties else [options.profile, options.overrides()]
            return flow(*given, **arguments)


def check_disk_after(folder: Path, error: type[BaseException] | None, *_: object) -> None:
    """Raise DiskFullError if a `with` block ended with an error and the disk of `folder` is full.

    Prefect's server has its database in `folder`. If the disk is full, Prefect's own errors do not name this cause.
    """
    if error is not None and issubclass(error, Exception) and not issubclass(error, DiskFullError):
        check_writable(folder)


def redirect_caches(layout: Layout) -> Layout:
    """Make libraries write their caches below the data root. Environment variables that are already set are kept.

    Returns the layout.
    """
    for variable, folder in CACHE_FOLDERS.items():
        os.environ.setdefault(variable, str((layout.home / folder).absolute()))
    for folder in ("cache/astropy", "config/astropy"):  # astropy ignores the variables if these folders do not exist
        make_folder(layout.home / folder)
    return layout
