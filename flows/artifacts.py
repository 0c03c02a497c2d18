"""Show progress bars, tables of counts, pictures and assets on the Prefect pages of a flow run."""

from __future__ import annotations

import base64
import io
import logging
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from PIL import Image
from prefect import artifacts
from prefect.assets import add_asset_metadata, materialize
from prefect.context import FlowRunContext

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.engine.progress import LOG_EVERY_S
from hubbleclip.pipeline.remote_store import local_files
from hubbleclip.pipeline.tiles.contact_sheet import render_sheet

NEWEST_TILES = "SELECT path, tile_id FROM tile ORDER BY cut_at DESC, tile_id LIMIT 12"


class ProgressArtifacts(logging.Handler):
    """Log handler that shows progress bars on the Prefect page of the flow run.

    A log record has the attributes `work` (name of the bar), `done` and `total`. `_shown` maps a flow run's id and
    a bar's name to the bar's id and the time (s, monotonic clock) of the bar's last change.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[tuple[UUID, str], tuple[UUID, float]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Create or update the bar of a record, at most every ten seconds and when `done` reaches `total`."""
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            return
        name, done, total = (record.__dict__[key] for key in ("work", "done", "total"))
        key, text, percent = (context.flow_run.id, name), f"{name}: {record.getMessage()}", 100 * done / max(total, 1)
        if key not in self._shown:
            valid = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
            made = artifacts.create_progress_artifact(percent, key=valid, description=text)
            self._shown[key] = cast("UUID", made), time.monotonic()
        artifact_id, shown_at = self._shown[key]
        if done >= total or time.monotonic() - shown_at > LOG_EVERY_S:
            artifacts.update_progress_artifact(artifact_id, percent, description=text)
            self._shown[key] = artifact_id, time.monotonic()


@contextmanager
def counted(layout: Layout) -> Iterator[None]:
    """Show a table with the catalog's row counts before and after a `with` block."""
    before = counts(layout)
    yield
    after = counts(layout).items()
    rows = [{"table": name, "before": before[name], "after": num, "new": num - before[name]} for name, num in after]
    artifacts.create_table_artifact(rows, key="counts", description="Rows in the catalog, before and after")


def counts(layout: Layout) -> Counter[str]:
    """Count the rows of each table of the published catalog."""
    if not layout.catalog.is_file():
        return Counter()
    with read_catalog(layout) as catalog:
        return Counter(catalog.counts())


def show_tiles(layout: Layout) -> None:
    """Show a contact sheet of the newest tiles.

    The picture is embedded in the artifact as a `data:` URI, because a browser cannot read files of a worker.
    """
    with read_catalog(layout) as catalog:
        rows = catalog.rows(NEWEST_TILES)
    if not rows:
        return
    with local_files(layout, (row["path"] for row in rows)):
        tiles = [Image.open(layout.absolute(row["path"])).convert("L") for row in rows]
    buffer = io.BytesIO()
    render_sheet(tiles, [row["tile_id"] for row in rows], columns=6, cell_px=128).save(buffer, "JPEG", quality=80)
    artifacts.create_image_artifact(
        data_uri("image/jpeg", buffer.getvalue()), key="tiles", description="The newest tiles"
    )


def show_report(layout: Layout, report_dir: Path, figure: bytes) -> None:
    """Show the retrieval figure of a report, and the path of the report."""
    uri = data_uri("image/svg+xml", figure)
    artifacts.create_image_artifact(
        uri, key="retrieval", description="Retrieval on the test split, with 95 % intervals"
    )
    page = report_dir / "index.html"
    link = page.absolute().as_uri()
    text = f"Report {report_dir.name} on the machine of this run: {page.absolute()}"
    if layout.store:
        link, text = f"{layout.store}/{layout.relative(page)}", f"Report {report_dir.name} in the store"
    hint = f"{text}. If the browser does not open the link, copy its address into the address bar."
    artifacts.create_link_artifact(link, link_text=text, key="report", description=hint)


def data_uri(kind: str, content: bytes) -> str:
    """Encode content as a `data:` URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def record_asset(profile: str, name: str, made_from: str, facts: Mapping[str, Any]) -> None:
    """Record an asset of a profile on the Prefect server, with its metadata `facts` and its source `made_from`."""
    key = f"hubbleclip://{profile}/{name}"
    source = f"hubbleclip://{profile}/{made_from}"

    @materialize(key, by="hubbleclip", name=f"record-{name}", persist_result=False, asset_deps=[source])
    def record() -> None:
        add_asset_metadata(key, dict(facts))

    record()
