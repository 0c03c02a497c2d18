"""The command line: `hubbleclip COMMAND --profile NAME`. An error is printed as one line, and the exit code is 2.

Commands import modules only when they run, so that `hubbleclip --help` loads neither settings, DuckDB nor pyarrow.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

from cyclopts import App, CycloptsError, Parameter

from hubbleclip import __version__
from hubbleclip.cli import benchmarking, checking, exporting, serving
from hubbleclip.cli.advice import complete_advice, given_flags
from hubbleclip.cli.listing import add_listings
from hubbleclip.cli.live import start_logging
from hubbleclip.cli.options import DatasetPlace, Json, Options, Port, RunId, Server, TileId
from hubbleclip.cli.output import print_facts, print_json, print_line, print_rows, print_wrapped
from hubbleclip.cli.query_output import TableFormat, print_query, write_query
from hubbleclip.cli.running import redirect_caches, run_flow, run_in_process, should_poll_first
from hubbleclip.cli.searching import SearchOptions
from hubbleclip.cli.summary import print_summary
from hubbleclip.core.errors import DISK_FULL_ERRNOS, NO_ACCESS_ERRNOS, CatalogError, HubbleclipError, without_control
from hubbleclip.core.id_prefixes import find_id
from hubbleclip.core.interrupts import ending_on_interrupt
from hubbleclip.core.layout import Layout

if TYPE_CHECKING:
    from hubbleclip.config.settings import Settings

log = logging.getLogger("hubbleclip.cli")
app = App(
    name="hubbleclip",
    help="From the Hubble archive to image-text models.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
app.command(checking.check_archive)
app.command(checking.contracts)
app.command(exporting.export)
app.command(benchmarking.benchmark)
app.command(serving.serve)
app.command(serving.mcp)
add_listings(app)
RESUMED = frozenset(
    {
        "ingest",
        "tiles",
        "captions",
        "shards",
        "dataset",
        "train",
        "evaluate",
        "index",
        "pipeline",
        "demo",
        "publish",
    }
)
"""Commands that continue where they were stopped."""


@app.command
def ingest(
    options: Options = Options(),
    *,
    retry: Annotated[bool, Parameter(negative=(), help="Retry all failed items now.")] = False,
    files: Annotated[
        bool, Parameter(help="Fetch files as well as metadata; --no-files fetches metadata alone.")
    ] = True,
    from_raw: Annotated[bool, Parameter(negative=(), help="Read stored responses and send no requests.")] = False,
    server: Server = True,
) -> None:
    """Query the archive for new observations and fetch their files."""
    changes = ["fetch.files=false"] * (not files) + ["archive.from_raw=true"] * from_raw
    options = replace(options, set=(*options.set, *changes))
    if not server:
        run_in_process(options, "ingest.run:ingest", retry=retry)
        return
    settings = options.settings()
    is_polled = should_poll_first(settings) and not retry
    if is_polled:
        from hubbleclip.pipeline.ingest.poll_archive import poll

        # A poll takes about 1 s, whereas the start of a Prefect server takes several seconds.
        if not poll(settings):
            log.info("ingest: nothing to do")
            return
    run_flow("ingest", options, retry=retry, is_polled=is_polled)


@app.command
def tiles(options: Options = Options(), *, server: Server = True) -> None:
    """Cut the fetched files into PNG tiles."""
    run_stage("tiles", options, server, "tiles.run:tiles")


@app.command
def captions(options: Options = Options(), *, server: Server = True) -> None:
    """Write summaries and search phrases about abstracts, by rules or by a language model."""
    if server:
        run_flow("captions", options)
    else:
        run_in_process(options, "captions:captions")


@app.command
def shards(options: Options = Options(), *, server: Server = True) -> None:
    """Split the tiles and pack them into a dataset."""
    run_stage("shards", options, server, "shards.run:shards")


@app.command
def dataset(options: Options = Options(), *, server: Server = True) -> None:
    """Make a dataset: ingest, tiles and shards."""
    run_stage("dataset", options, server, "dataset:dataset")
    print_status(options.settings())


@app.command
def train(
    options: Options = Options(),
    *,
    sweep: Annotated[
        Path | None, Parameter(help="Train a grid: TOML file of settings whose values are lists, such as grid.toml.")
    ] = None,
    server: Server = True,
) -> None:
    """Train on the newest dataset."""
    if sweep is None:
        run_stage("train", options, server, "train:train")
        return
    from hubbleclip.config.toml import read_grid

    grid = read_grid(sweep)
    if server:
        print_rows(run_flow("sweep", options, grid=grid))
        return
    from hubbleclip.pipeline.sweep import sweep as sweep_in_process

    print_rows(sweep_in_process(options.profile, options.overrides(), grid))


@app.command
def evaluate(options: Options = Options(), *, server: Server = True) -> None:
    """Evaluate the run on the newest dataset and write its report."""
    run_stage("evaluate", options, server, "evaluate:evaluate")
    print_summary(options)


@app.command
def index(options: Options = Options(), *, server: Server = True) -> None:
    """Add the tiles that the promoted model has not seen to the search index."""
    run_stage("index", options, server, "index:index")


@app.command
def pipeline(options: Options = Options(), *, server: Server = True) -> None:
    """Run everything: dataset, training, evaluation and search index."""
    stages = ("dataset:dataset", "train:train", "evaluate:evaluate", "index:index_promoted")
    run_stage("pipeline", options, server, *stages)
    print_status(options.settings())
    print_summary(options)


@app.command
def demo(
    *,
    data: Annotated[Path, Parameter(help="Folder of everything that is written, such as hubbleclip-demo.")] = Path(
        "hubbleclip-demo"
    ),
    server: Server = True,
) -> None:
    """Run the whole pipeline on the simulated archive, in four to twelve minutes on two cores."""
    pipeline(Options(data=data), server=server)


def run_stage(flow: str, options: Options, server: bool, *stages: str) -> None:
    """Run a Prefect flow, or run its stages without Prefect."""
    if server:
        run_flow(flow, options)
    else:
        run_in_process(options, *stages)


@app.command
def compare(run: RunId, other: RunId, options: Options = Options()) -> None:
    """Compare two runs on one report page, with their paired differences."""
    redirect_caches(existing_layout(options))
    from hubbleclip.pipeline.compare_runs import compare as compare_runs

    page = compare_runs(run, other, options.settings())
    print_line(str(page))


@app.command
def promoted(options: Options = Options(), *, json: Json = False) -> None:
    """Show the run that is best on val so far, and the comparison by which it was promoted."""
    from hubbleclip.pipeline.promotion import read_promoted

    decision = read_promoted(Layout(options.settings().root))
    if decision is None:
        raise HubbleclipError("no run is promoted yet: run `hubbleclip pipeline` first")
    show = print_json if json else print_facts
    show(decision)


@app.command(name="server")
def serve_prefect(options: Options = Options(), *, port: Port = 4200) -> None:
    """Run a Prefect server and its web pages on loopback, for scheduled runs, until Ctrl-C."""
    from flows.scheduled_server import prefect_environment, serve
    from hubbleclip.core.api_key import KEY, KEY_FILE, prefect_home

    data = options.settings().data
    environment = prefect_environment(data, port)
    place = f"the variable {KEY}" if KEY in os.environ else str(prefect_home(data) / KEY_FILE)
    print_line(f"the pages at http://127.0.0.1:{port} ask for the key, which is in {place}")
    sys.stdout.flush()
    serve(environment, port)


@app.command
def deploy(options: Options = Options(), *, port: Port = 4200) -> None:
    """Register the deployments and automations of scheduled runs, which use this profile and these settings."""
    from flows.scheduled_server import prefect_environment

    settings = options.settings()
    # Prefect reads its environment when it is imported, so the variables are set first.
    os.environ.update(prefect_environment(settings.data, port))
    from flows.deployment import deploy as deploy_all

    data = replace(options, data=settings.data)
    for name in deploy_all(options.profile, data.overrides(), settings.flows):
        print_line(f"deployed {name}")
    api = os.environ["PREFECT_API_URL"]
    print_line(f"pages    {api.removesuffix('/api')}/deployments")
    print_line(f"next     hubbleclip worker{replace(options, data=settings.data.absolute()).flags()} --port {port}")
    print_line("         then start `pipeline-cpu` on its page, or wait for `dataset-nightly` at 2:00 UTC")


@app.command
def worker(
    options: Options = Options(),
    *,
    pool: Annotated[
        tuple[str, ...], Parameter(help="Work pool to serve, cpu or gpu; can be repeated.", negative=())
    ] = (
        "cpu",
        "gpu",
    ),
    port: Port = 4200,
) -> None:
    """Execute scheduled runs of a server's work pools until Ctrl-C, which also stops active runs."""
    from flows.scheduled_server import prefect_environment, work

    settings = options.settings()
    redirect_caches(Layout(settings.root))
    work(prefect_environment(settings.data, port), pool, settings.flows.zombie_s)


@app.command
def status(options: Options = Options(), *, json: Json = False) -> None:
    """Show what exists, what was rejected, and what is pending."""
    if not json:
        print_status(options.settings())
        return
    from hubbleclip.pipeline.status import read_status

    print_json(asdict(read_status(options.settings())))


def print_status(settings: Settings) -> None:
    """Print the status of a profile as lines of text."""
    from hubbleclip.pipeline.status import read_status, status_lines

    for line in status_lines(read_status(settings)):
        print_wrapped(line)


@app.command
def sql(
    query: Annotated[str, Parameter(help="The query, such as 'FROM coverage'.")] = "",
    options: Options = Options(),
    *,
    views: Annotated[bool, Parameter(negative=(), help="List the views and searches with their meaning.")] = False,
    format: Annotated[TableFormat, Parameter(help="How the rows are written.")] = "table",  # noqa: A002
    out: Annotated[
        Path | None, Parameter(help="File to write, such as rows.parquet, as CSV, JSON or Parquet; it is replaced.")
    ] = None,
    max_rows: Annotated[
        int | None, Parameter(help="Maximum number of rows, such as 1000; by default 100,000, and all rows with --out.")
    ] = None,
    max_s: Annotated[float, Parameter(help="Time limit in seconds, such as 60.")] = 60.0,
) -> None:
    """Query the catalog in SQL, read-only and without access to files."""
    from hubbleclip.catalog.catalog import read_catalog
    from hubbleclip.catalog.user_sql import MAX_ROWS, stream_user_sql

    if not (query or views):
        raise CatalogError('no query given: write `hubbleclip sql "FROM coverage"`, or --views for a list of views')
    layout = Layout(options.settings().root)
    if views:
        with read_catalog(layout) as catalog:
            print_rows(catalog.views())
        return
    limit = MAX_ROWS if max_rows is None and out is None else max_rows
    with stream_user_sql(layout, query, max_rows=limit, max_s=max_s) as rows:
        if out is None:
            print_query(rows, format)
        else:
            write_query(rows, format, out)
            print_line(f"{rows.num_rows} rows are in {out}")
    if rows.is_cut:
        log.warning("sql: only the first %d rows are written: raise --max-rows", rows.num_rows)


@app.command
def explain(tile_id: TileId, options: Options = Options(), *, json: Json = False) -> None:
    """Show the lineage of a tile: shard, product, observation, proposal."""
    from hubbleclip.catalog.catalog import read_catalog
    from hubbleclip.pipeline.lineage import explain_tile

    layout = Layout(options.settings().root)
    with read_catalog(layout) as catalog:
        lineage = explain_tile(catalog, layout, tile_id)
    show = print_json if json else print_facts
    show(lineage)


@app.command
def search(
    text: Annotated[str, Parameter(help="What the hits show, such as 'spiral galaxy'.")] = "",
    options: Options = Options(),
    *,
    wanted: SearchOptions = SearchOptions(),
) -> None:
    """Search tiles by a text, a tile, a picture or FITS file, or a proposal, with the promoted model."""
    from hubbleclip.cli.searching import Format, find_rows, print_hits

    layout = existing_layout(options)
    redirect_caches(layout)
    print_hits(find_rows(layout, text, wanted), Format.JSON if wanted.json else wanted.format, wanted.group)


@app.command
def verify(dataset: DatasetPlace, options: Options = Options()) -> None:
    """Hash every byte of a dataset, and search for leaks between its splits by brute force."""
    from hubbleclip.dataset.verify import find_faults

    place = find_dataset(dataset, options)
    faults = list(find_faults(place))
    for fault in faults:
        sys.stderr.write(f"hubbleclip: {fault}\n")
    if faults:
        sys.exit(2)
    print_line(f"{place} is intact")


@app.command
def publish(
    folder: Annotated[
        str,
        Parameter(help="Folder of a dataset or of an exported model, or first characters of a digest, such as 022de0."),
    ],
    url: Annotated[str, Parameter(help="Where readers find datasets, such as s3://bucket/prefix or a folder.")],
    options: Options = Options(),
    *,
    model: Annotated[
        bool, Parameter(negative=(), help="Publish an exported model; URL may be hf://owner/name.")
    ] = False,
) -> None:
    """Verify a dataset's folder, then copy it below a URL for other readers."""
    if model:
        from hubbleclip.training.export.publish import publish_model

        print_line(publish_model(Path(folder), url))
        return
    from hubbleclip.dataset.publish import publish as publish_dataset
    from hubbleclip.dataset.verify import verify_dataset

    place = find_dataset(folder, options)
    verify_dataset(place)
    print_line(publish_dataset(Path(place), url))


def existing_layout(options: Options) -> Layout:
    """Find the folders of a profile for a command that only reads."""
    layout = Layout(options.settings().root)
    if not layout.root.is_dir():
        raise HubbleclipError(f"there is nothing at {layout.root} yet: run `hubbleclip pipeline` first, or set --data")
    return layout


def find_dataset(text: str, options: Options) -> str:
    """Find the dataset that a person means."""
    if "/" in text or Path(text).exists():
        return text
    folder = Layout(options.settings().root).datasets
    digests = [path.name for path in folder.glob("[!.]*")]
    return str(folder / find_id(text, digests, kind="dataset", listed_by="hubbleclip datasets"))


@app.command
def tile(
    files: Annotated[list[Path], Parameter(negative=(), help="FITS or JPEG files, such as image.fits.")],
    *,
    out_dir: Annotated[Path, Parameter(name="--out", help="Folder of the tiles, such as tiles.")],
    options: Options = Options(),
) -> None:
    """Cut FITS or JPEG files, or folders of them, into tiles with an index and a contact sheet, without a catalog."""
    from hubbleclip.pipeline.tiles.tile_files import tile_files

    for line in tile_files(files, out_dir, options.settings().tiles):
        print_line(line)


@app.command
def settings(options: Options = Options()) -> None:
    """Print all settings of a profile as commented TOML."""
    from hubbleclip.config.toml import settings_toml

    sys.stdout.write(settings_toml(options.settings()))


@app.command
def simulate(options: Options = Options()) -> None:
    """Serve the simulated archive until Ctrl-C."""
    from hubbleclip.simulator.server.app import serve

    settings = options.settings()
    redirect_caches(Layout(settings.root))
    serve(settings.simulator)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. An error that the user can correct is printed as one line, with exit code 2."""
    handler = start_logging()
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with ending_on_interrupt(can_resume=bool(words) and words[0] in RESUMED), closing(handler):
            app(words, exit_on_error=False, print_error=False)
    except (HubbleclipError, CycloptsError) as error:
        fail(complete_advice(str(error), shlex.join(given_flags(words))))
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            fail(f"{error.filename or 'a file'} cannot be written ({error.strerror}): make room or set --data")
        if error.errno not in NO_ACCESS_ERRNOS or not error.filename:
            raise
        fail(f"{error.filename} cannot be used ({error.strerror}): check its permissions, or set --data")


def fail(message: str) -> NoReturn:
    """Print an error as one line and exit."""
    sys.stderr.write(f"hubbleclip: {without_control(' '.join(message.split()))}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
