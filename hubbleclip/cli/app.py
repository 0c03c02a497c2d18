"""The command line: `hubbleclip COMMAND --profile NAME`. Every failure is one line and exit code 2."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from hubbleclip import __version__
from hubbleclip.catalog.catalog import read_catalog, writing_catalog
from hubbleclip.cli.options import Options, PairOptions, Server
from hubbleclip.cli.output import out, print_facts, print_json, print_rows, print_status
from hubbleclip.cli.running import has_catalog_to_poll, keep_caches_below, run_flow, run_plain
from hubbleclip.config.toml import read_grid, settings_toml
from hubbleclip.core.errors import CatalogError, HubbleclipError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.promotion import read_promoted
from hubbleclip.pipeline.status import read_status

log = logging.getLogger("hubbleclip.cli")
app = App(
    name="hubbleclip",
    help="From the Hubble archive to image-text models.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)


@app.command
def ingest(
    options: Options = Options(),
    *,
    retry: Annotated[bool, Parameter(negative=(), help="Retry now all that waits or was given up.")] = False,
    files: Annotated[bool, Parameter(help="Fetch files, or the metadata only.")] = True,
    from_raw: Annotated[bool, Parameter(negative=(), help="Read stored answers again, without a request.")] = False,
    server: Server = True,
) -> None:
    """Ask the archive what is new and fetch it."""
    changes = ["fetch.files=false"] * (not files) + ["archive.from_raw=true"] * from_raw
    options = replace(options, set=(*options.set, *changes))
    if not server:
        run_plain(options, "ingest.run:ingest", retry=retry)
        return
    settings = options.settings()
    is_polled = has_catalog_to_poll(settings) and not retry
    if is_polled:
        from hubbleclip.pipeline.ingest.poll_archive import poll  # noqa: PLC0415 - brings the archive clients

        if not poll(settings):
            log.info("ingest: nothing to do")
            return
    run_flow("flows.ingest", "ingest", options, retry=retry, is_polled=is_polled)


@app.command
def tiles(options: Options = Options(), *, server: Server = True) -> None:
    """Cut the fetched files into PNG tiles."""
    run_stage("tiles", options, server, "tiles.run:tiles")


@app.command
def shards(options: Options = Options(), *, server: Server = True) -> None:
    """Split the tiles and pack them into a dataset."""
    run_stage("shards", options, server, "shards.run:shards")


@app.command
def dataset(options: Options = Options(), *, server: Server = True) -> None:
    """Ingest, tiles and shards."""
    run_stage("dataset", options, server, "dataset:dataset")
    print_status(read_status(options.settings()))


@app.command
def train(
    options: Options = Options(),
    *,
    sweep: Annotated[Path | None, Parameter(help="Train a grid: a TOML of settings whose values are lists.")] = None,
    server: Server = True,
) -> None:
    """Train on the newest dataset."""
    if sweep is None:
        run_stage("train", options, server, "train:train")
        return
    grid = read_grid(sweep)
    if server:
        print_rows(run_flow("flows.sweep", "sweep", options, grid=grid))
        return
    from hubbleclip.pipeline.sweep import sweep as sweep_plainly  # noqa: PLC0415 - brings torch

    print_rows(sweep_plainly(options.profile, options.overrides(), grid))


@app.command
def evaluate(options: Options = Options(), *, server: Server = True) -> None:
    """Evaluate the run on the newest dataset and write its report."""
    run_stage("evaluate", options, server, "evaluate:evaluate")


@app.command
def pipeline(options: Options = Options(), *, server: Server = True) -> None:
    """Everything: dataset, training, evaluation."""
    run_stage("pipeline", options, server, "dataset:dataset", "train:train", "evaluate:evaluate")
    print_status(read_status(options.settings()))


def run_stage(flow: str, options: Options, server: bool, *stages: str) -> None:
    """Run the flow of that name, or its stages without Prefect."""
    if server:
        run_flow(f"flows.{flow}", flow, options)
    else:
        run_plain(options, *stages)


@app.command
def compare(run: str, other: str, options: Options = Options()) -> None:
    """The report's page for two runs side by side, with their paired differences."""
    from hubbleclip.pipeline.compare_runs import compare as compare_runs  # noqa: PLC0415 - brings torch

    keep_caches_below(Layout(options.settings().root))
    page = compare_runs(run, other, options.settings())
    out.print(str(page), highlight=False, markup=False, soft_wrap=True)


@app.command
def study(options: Options = Options(), *, steps: int = 180, num_seeds: int = 3) -> None:
    """Train with one choice changed at a time and measure what each is worth; resumes where it stopped."""
    found = run_flow("experiments.study.flow", "study", options, steps=steps, num_seeds=num_seeds)
    names = ("name", "metric", "value", "low", "high")
    print_rows([{name: answer[name] for name in names} for answer in found["questions"]])


@app.command
def pairs(
    train: Path, options: PairOptions = PairOptions(), *, test: Path | None = None, folds: int = 5, seeds: int = 3
) -> None:
    """Learn from a folder of JPEG pictures with captions.jsonl; test on another such folder, or on folds in turn."""
    arguments = {"train": train, "test": test, "num_folds": folds, "num_seeds": seeds}
    print_rows(run_flow("experiments.pairs.flow", "pairs", options, **arguments))


@app.command
def promoted(options: Options = Options(), *, json: bool = False) -> None:
    """The run that is the best on val so far, and the comparison that made it so."""
    found = read_promoted(Layout(options.settings().root))
    if found is None:
        raise HubbleclipError("no run is promoted yet: run `hubbleclip pipeline` first")
    if json:
        print_json(found)
        return
    print_facts(found)


@app.command(name="server")
def serve_prefect(options: Options = Options(), *, port: int = 4200) -> None:
    """Prefect's server and pages on loopback, for scheduled runs, until Ctrl-C."""
    from flows.scheduled_server import prefect_environment, serve  # noqa: PLC0415 - scheduled runs only

    serve(prefect_environment(options.settings().data, port), port)


@app.command
def deploy(options: Options = Options(), *, port: int = 4200) -> None:
    """Register prefect.yaml and the automations; scheduled runs get this profile and these settings."""
    from flows.scheduled_server import prefect_environment  # noqa: PLC0415 - scheduled runs only

    settings = options.settings()
    os.environ.update(prefect_environment(settings.data, port))
    from flows.deployment import deploy as deploy_all  # noqa: PLC0415 - reads the environment

    data = replace(options, data=settings.data)
    for name in deploy_all(options.profile, data.overrides(), settings.flows):
        out.print(f"deployed {name}", highlight=False)


@app.command
def worker(
    options: Options = Options(),
    *,
    pool: Annotated[tuple[str, ...], Parameter(help="Which pools to work for: cpu, gpu.", negative=())] = (
        "cpu",
        "gpu",
    ),
    port: int = 4200,
) -> None:
    """Work for a server's pools until Ctrl-C; runs under way end with it."""
    from flows.scheduled_server import prefect_environment, work  # noqa: PLC0415 - scheduled runs only

    settings = options.settings()
    keep_caches_below(Layout(settings.root))
    work(prefect_environment(settings.data, port), pool)


@app.command
def status(options: Options = Options(), *, json: bool = False) -> None:
    """What there is, what was left out, and what is still to do."""
    found = read_status(options.settings())
    if json:
        print_json(asdict(found))
    else:
        print_status(found)


@app.command
def sql(
    query: str = "",
    options: Options = Options(),
    *,
    views: Annotated[bool, Parameter(negative=(), help="List the views and searches with their meaning.")] = False,
) -> None:
    """Ask the catalog in SQL; it is opened read-only."""
    if not (query or views):
        raise CatalogError('there is no question: write `hubbleclip sql "FROM coverage"`, or --views for what there is')
    with read_catalog(Layout(options.settings().root)) as catalog:
        rows = catalog.views() if views else catalog.rows(query)
    print_rows(rows)


@app.command
def migrate(options: Options = Options()) -> None:
    """Bring a catalog of an older hubbleclip forward; a copy of it is kept. Every flow does so by itself."""
    with writing_catalog(Layout(options.settings().root)) as catalog:
        rows = catalog.rows("FROM migration ORDER BY version DESC LIMIT 1")
    out.print(f"the catalog has schema version {rows[0]['version']} ({rows[0]['name']})", highlight=False)


@app.command
def explain(tile_id: str, options: Options = Options(), *, json: bool = False) -> None:
    """Where a tile comes from: shard, product, observation, proposal."""
    from hubbleclip.pipeline.lineage import explain_tile  # noqa: PLC0415 - brings the dataset's readers

    layout = Layout(options.settings().root)
    with read_catalog(layout) as catalog:
        chain = explain_tile(catalog, layout, tile_id)
    if json:
        print_json(chain)
        return
    print_facts(chain)


@app.command
def search(
    text: str,
    options: Options = Options(),
    *,
    k: Annotated[int, Parameter(name=("-k", "--k"))] = 10,
    json: bool = False,
) -> None:
    """Tiles nearest to a text, by the model of the newest report."""
    from hubbleclip.search.text_search import search as search_tiles  # noqa: PLC0415 - brings torch

    settings = options.settings()
    layout = Layout(settings.root)
    keep_caches_below(layout)
    found = read_status(settings)
    if not (found.report and found.run and found.dataset):
        raise HubbleclipError("there is no report to search by: run `hubbleclip pipeline` first")
    hits = search_tiles(text, Path(found.dataset), Path(found.run), Path(found.report).parent, k)
    if json:
        print_json([asdict(hit) for hit in hits])
        return
    names = ("tile_id", "split", "target", "title")
    print_rows([{"score": f"{hit.score:.3f}"} | {name: getattr(hit, name) for name in names} for hit in hits])


@app.command
def verify(dataset: str) -> None:
    """Hash every byte of a dataset (a folder or a URL) and compare each sample with its row; one line a fault."""
    from hubbleclip.dataset.verify import find_faults  # noqa: PLC0415 - brings pyarrow

    faults = list(find_faults(dataset))
    for fault in faults:
        sys.stderr.write(f"hubbleclip: {fault}\n")
    if faults:
        sys.exit(2)
    out.print(f"{dataset} is what was built", highlight=False, markup=False, soft_wrap=True)


@app.command
def publish(dataset: Path, url: str) -> None:
    """Verify a dataset's folder, then copy it below a URL (s3://bucket/prefix, or a folder) for others to read."""
    from hubbleclip.dataset.publish import publish as publish_dataset  # noqa: PLC0415 - brings pyarrow
    from hubbleclip.dataset.verify import verify_dataset  # noqa: PLC0415 - as above

    verify_dataset(dataset)
    out.print(publish_dataset(dataset, url), highlight=False, markup=False, soft_wrap=True)


@app.command
def tile(
    files: Annotated[list[Path], Parameter(negative=())],
    *,
    out_dir: Annotated[Path, Parameter(name="--out")],
    options: Options = Options(),
) -> None:
    """Cut FITS or JPEG files into tiles, with a contact sheet; no catalog, no archive."""
    from hubbleclip.pipeline.tiles.tile_files import tile_files  # noqa: PLC0415 - brings astropy

    for line in tile_files(files, out_dir, options.settings().tiles):
        out.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command
def settings(options: Options = Options()) -> None:
    """All settings of a profile as commented TOML."""
    sys.stdout.write(settings_toml(options.settings()))


@app.command
def simulate(
    options: Options = Options(),
    *,
    faults: Annotated[str, Parameter(help="Faults to inject: storm, storm:SEED, or the path of a plan as JSON.")] = "",
) -> None:
    """Serve the simulated archive until it is interrupted; `GET /faults` tells how many faults it injected."""
    from hubbleclip.simulator.server.app import serve  # noqa: PLC0415 - as above
    from hubbleclip.simulator.server.fault_plan import FaultPlan, read_plan  # noqa: PLC0415 - brings the web server

    settings = options.settings()
    plan = read_plan(faults) if faults else FaultPlan()
    keep_caches_below(Layout(settings.root))
    serve(settings.simulator, plan)


def start_logging() -> None:
    """Our own lines on standard error; of the libraries only errors, since ours say what matters."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    logging.getLogger("stamina").setLevel(logging.ERROR)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error that a user can mend becomes one line and exit code 2."""
    start_logging()
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (HubbleclipError, CycloptsError) as error:
        sys.stderr.write(f"hubbleclip: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("hubbleclip: stopped; the same command resumes here\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
