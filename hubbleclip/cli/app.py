"""The command line: `hubbleclip COMMAND --profile NAME`. Every failure is one line and exit code 2."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from flows.loading import keep, load
from flows.private_server import prefect_server
from flows.scheduled_server import POOLS, prefect_environment, serve, work
from hubbleclip import __version__
from hubbleclip.catalog.catalog import read_catalog, writing_catalog
from hubbleclip.cli.output import out, print_facts, print_json, print_rows, print_status
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.config.toml import parse_assignment, put, settings_toml
from hubbleclip.core.errors import CatalogError, HubbleclipError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.promotion import read_promoted
from hubbleclip.pipeline.status import read_status

app = App(
    name="hubbleclip",
    help="From the Hubble archive to image-text models.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every command that reads settings."""

    profile: Annotated[str, Parameter(help="demo, hubble, local, paper, or the path of a TOML file.")] = "demo"
    data: Annotated[Path | None, Parameter(help="Root of everything that is written.")] = None
    local: Annotated[Path | None, Parameter(help="Folder of FITS files, for the profile local.")] = None
    proposals: Annotated[Path | None, Parameter(help="JSON-lines file of proposals, for the profile local.")] = None
    set: Annotated[
        tuple[str, ...], Parameter(help="One setting, as section.name=value.", negative=(), consume_multiple=False)
    ] = ()

    def overrides(self) -> dict[str, Any]:
        """Settings that the options change, as plain values that also travel to a Prefect server."""
        values: dict[str, Any] = {}
        for assignment in self.set:
            put(values, *parse_assignment(assignment))
        for path, value in (
            ("data", self.data),
            ("archive.folder", self.local),
            ("archive.proposals_file", self.proposals),
        ):
            if value is not None:
                put(values, path, str(value.absolute()))
        return values

    def settings(self) -> Settings:
        """The settings of the profile with the options applied."""
        return read_settings(self.profile, self.overrides())


def run_flow(module: str, name: str, options: Options, **arguments: Any) -> Any:
    """Check the settings, then run a flow, for its result, with a Prefect server of our own where the environment
    names none. Under torchrun every process runs it, each with a server of its own.
    """
    layout = Layout(options.settings().root)
    keep_home(layout)
    with prefect_server(layout.home / f"prefect-{os.environ.get('RANK', '0')}") as wait_until_up:
        flow = getattr(load(module), name)
        wait_until_up()
        with load("scheduled").without_heartbeat():
            return flow(options.profile, options.overrides(), **arguments)


def keep_home(layout: Layout) -> None:
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


@app.command
def ingest(
    options: Options = Options(),
    *,
    retry: Annotated[bool, Parameter(negative=(), help="Try all that waits or was given up now.")] = False,
    files: Annotated[bool, Parameter(help="Fetch files, or the metadata only.")] = True,
    from_raw: Annotated[bool, Parameter(negative=(), help="Read landed answers again; ask nobody.")] = False,
) -> None:
    """Ask the archive what is new and fetch it."""
    changes = ["fetch.files=false"] * (not files) + ["archive.from_raw=true"] * from_raw
    options = replace(options, set=(*options.set, *changes))
    is_asked = is_asked_first(options.settings()) and not retry
    if is_asked and not load("asking").ask(options.profile, options.overrides()):
        logging.getLogger("hubbleclip.flows").info("ingest: nothing to do")
        return
    run_flow("ingest", "ingest", options, retry=retry, is_asked=is_asked)


def is_asked_first(settings: Settings) -> bool:
    """Whether to look for work before a Prefect server of our own is started for it: it takes longer than the look.
    A first run has work, and a server of the user's own is to know of every run.
    """
    layout = Layout(settings.root)
    keep_home(layout)
    return layout.catalog.is_file() and not settings.archive.from_raw and not os.environ.get("PREFECT_API_URL")


@app.command
def tiles(options: Options = Options()) -> None:
    """Cut the fetched files into PNG tiles."""
    run_flow("tiles", "tiles", options)


@app.command
def shards(options: Options = Options()) -> None:
    """Split the tiles and pack them into a dataset."""
    run_flow("shards", "shards", options)


@app.command
def dataset(options: Options = Options()) -> None:
    """Ingest, tiles and shards."""
    run_flow("dataset", "dataset", options)
    print_status(read_status(options.settings()))


@app.command
def train(
    options: Options = Options(),
    *,
    sweep: Annotated[Path | None, Parameter(help="Train a grid: a TOML of settings whose values are lists.")] = None,
) -> None:
    """Train on the newest dataset."""
    if sweep is None:
        run_flow("train", "train", options)
    else:
        print_rows(run_flow("sweep", "sweep", options, grid=load("sweep").read_grid(sweep)))


@app.command
def evaluate(options: Options = Options()) -> None:
    """Evaluate the run on the newest dataset and write its report."""
    run_flow("evaluate", "evaluate", options)


@app.command
def compare(run: str, other: str, options: Options = Options()) -> None:
    """The report's page for two runs side by side, with their paired differences."""
    keep_home(Layout(options.settings().root))
    page = load("compare").compare(run, other, options.settings())
    out.print(str(page), highlight=False, markup=False, soft_wrap=True)


@app.command
def study(options: Options = Options(), *, steps: int = 180, num_seeds: int = 3) -> None:
    """Train with one choice changed at a time and say what each is worth; goes on where it stopped."""
    found = run_flow("study", "study", options, steps=steps, num_seeds=num_seeds)
    print_rows(
        [{name: answer[name] for name in ("name", "metric", "value", "low", "high")} for answer in found["questions"]]
    )


@app.command
def pipeline(options: Options = Options()) -> None:
    """Everything: dataset, training, evaluation."""
    run_flow("pipeline", "pipeline", options)
    print_status(read_status(options.settings()))


@dataclass(frozen=True, kw_only=True)
class PairOptions(Options):
    """Options of `pairs`, which has a profile of its own."""

    profile: Annotated[str, Parameter(help="pairs, or the path of a TOML file.")] = "pairs"


@app.command
def pairs(
    train: Path, options: PairOptions = PairOptions(), *, test: Path | None = None, folds: int = 5, seeds: int = 3
) -> None:
    """Learn from a folder of JPEG pictures with captions.jsonl; test on another such folder, or on folds in turn."""
    print_rows(run_flow("pairs", "pairs", options, train=train, test=test, num_folds=folds, num_seeds=seeds))


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


@app.command
def server(options: Options = Options(), *, port: int = 4200) -> None:
    """Prefect's server and pages on loopback, for scheduled runs, until Ctrl-C."""
    serve(prefect_environment(options.settings().data, port), port)


@app.command
def deploy(options: Options = Options(), *, port: int = 4200) -> None:
    """Register prefect.yaml and the automations; scheduled runs get this profile and these settings."""
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
    pool: Annotated[tuple[str, ...], Parameter(help="Which pools to work for: cpu, gpu.", negative=())] = POOLS,
    port: int = 4200,
) -> None:
    """Work for a server's pools until Ctrl-C; runs under way end with it."""
    settings = options.settings()
    keep_home(Layout(settings.root))
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
    keep_home(layout)
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
    from hubbleclip.pipeline.tile_files import tile_files  # noqa: PLC0415 - brings astropy

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
    keep_home(Layout(settings.root))
    serve(settings.simulator, plan)


def start_logging() -> None:
    """Our own lines on standard error; of the libraries only errors, since ours say what matters."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    logging.getLogger("stamina").setLevel(logging.ERROR)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error that a user can mend becomes one line and exit code 2."""
    keep()
    start_logging()
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (HubbleclipError, CycloptsError) as error:
        sys.stderr.write(f"hubbleclip: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("hubbleclip: stopped; the same command goes on from here\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
