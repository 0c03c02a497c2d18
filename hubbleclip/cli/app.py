"""The command line: `hubbleclip COMMAND --profile NAME`. An error is printed as one line, and the exit code is 2.

Commands import modules only when they run, so that `hubbleclip --help` loads neither settings, DuckDB nor pyarrow.
"""

from __future__ import annotations

import atexit
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter

from hubbleclip import __version__
from hubbleclip.cli import checking, listing, models, querying, serving
from hubbleclip.cli.listing import print_summary, status
from hubbleclip.cli.live import start_logging
from hubbleclip.cli.options import Options, Port, Server, complete_advice, given_flags
from hubbleclip.cli.output import print_line, print_rows
from hubbleclip.cli.running import redirect_caches, run_stage
from hubbleclip.cli.searching import SearchOptions
from hubbleclip.core.errors import NO_ACCESS_ERRNOS, HubbleclipError, machine_error, without_control
from hubbleclip.core.interrupts import ending_on_interrupt, silence
from hubbleclip.core.reasons import count_of

app = App(
    name="hubbleclip",
    help="From the Hubble archive to image-text models.",
    version=__version__,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=()),
)
STAGES = ("ingest", "tiles", "captions", "shards", "dataset", "train", "evaluate", "index", "pipeline", "demo")
DEMO_DATA = Path("hubbleclip-demo")
SMALL_DEMO = (
    *("simulator.num_proposals=100", "simulator.frame_px=280", "tiles.size_px=256", "train.steps=60"),
    *("train.warmup_steps=10", "train.batch_size=48", "train.validate_every=20", "evaluation.shuffled_steps=0"),
)
"""Settings of a demo for a workshop: small frames, few proposals, a short training, no shuffled-pairs baseline."""
RESUMED = frozenset((*STAGES, "publish"))
"""Commands that continue where they were stopped."""


@app.command
def ingest(
    options: Options = Options(),
    *,
    retry: bool = False,
    files: Annotated[bool, Parameter(negative="--no-files")] = True,
    from_raw: bool = False,
    server: Server = True,
) -> None:
    """Query the archive for new observations and fetch their files.

    Parameters
    ----------
    retry
        Retry all failed items now.
    files
        Fetch files as well as metadata; --no-files fetches metadata alone.
    from_raw
        Read stored responses and send no requests.

    """
    changes = ["fetch.files=false"] * (not files) + ["archive.from_raw=true"] * from_raw
    run_stage("ingest", replace(options, set=(*options.set, *changes)), server, retry=retry)


@app.command
def retry(reasons: list[str], options: Options = Options()) -> None:
    """Withdraw the rejections that have the given reasons, so that the next run tries the items again.

    Parameters
    ----------
    reasons
        Codes of reasons, such as unexpected: see `hubbleclip status --json`.

    """
    from hubbleclip.pipeline.engine.attempts import retry as take_back

    print_line(f"the next run tries {count_of(take_back(options.settings(), reasons), 'item')} again")


@app.command
def tiles(options: Options = Options(), *, server: Server = True) -> None:
    """Cut the fetched files into PNG tiles."""
    run_stage("tiles", options, server)


@app.command
def captions(options: Options = Options(), *, server: Server = True) -> None:
    """Write summaries and search phrases about abstracts, by rules or by a language model."""
    run_stage("captions", options, server)


@app.command
def shards(options: Options = Options(), *, server: Server = True) -> None:
    """Split the tiles and pack them into a dataset."""
    run_stage("shards", options, server)


@app.command
def dataset(options: Options = Options(), *, server: Server = True) -> None:
    """Make a dataset: ingest, tiles and shards."""
    run_stage("dataset", options, server)
    status(options)


@app.command
def train(options: Options = Options(), *, sweep: Path | None = None, server: Server = True) -> None:
    """Train on the newest dataset.

    Parameters
    ----------
    sweep
        Train each combination of settings from a TOML file whose values are lists, such as grid.toml.

    """
    if sweep is None:
        run_stage("train", options, server)
        return
    from hubbleclip.config.toml import read_grid

    print_rows(run_stage("sweep", options, server, grid=read_grid(sweep)))


@app.command
def evaluate(run: str = "", options: Options = Options(), *, server: Server = True) -> None:
    """Evaluate a run and write its report; by default the newest run on the newest dataset.

    Parameters
    ----------
    run
        Id of a run or its first characters, such as 20261127; see `runs`.

    """
    run_stage("evaluate", options, server, run=run)
    print_summary(options, run)


@app.command
def index(options: Options = Options(), *, server: Server = True) -> None:
    """Embed new tiles with the promoted model, and add them to the search index."""
    run_stage("index", options, server)


@app.command
def pipeline(options: Options = Options(), *, server: Server = True) -> None:
    """Run everything: dataset, training, evaluation and search index."""
    run_stage("pipeline", options, server)
    status(options)
    print_summary(options, is_own=True)


@app.command
def demo(*, data: Path = DEMO_DATA, small: bool = False, server: Server = True) -> None:
    """Run the whole pipeline on the simulated archive, in five minutes on two idle cores.

    Parameters
    ----------
    data
        Folder of everything that is written, such as hubbleclip-demo.
    small
        Run a small demo for a workshop. It writes 0.6 GB, and its metrics have little meaning.

    """
    pipeline(Options(data=data / "small" if small else data, set=SMALL_DEMO if small else ()), server=server)


@app.command(name="server")
def serve_prefect(options: Options = Options(), *, port: Port = 4200) -> None:
    """Run a Prefect server and its web pages on loopback, for scheduled runs, until Ctrl-C."""
    from flows.server import KEY, KEY_FILE, prefect_environment, prefect_home, serve

    data = options.settings().data
    environment = prefect_environment(data, port)
    place = f"the variable {KEY}" if KEY in os.environ else str(prefect_home(data) / KEY_FILE)
    print_line(f"the pages at http://127.0.0.1:{port} ask for the key, which is in {place}")
    sys.stdout.flush()
    serve(data, port, environment)


@app.command
def deploy(options: Options = Options(), *, port: Port = 4200) -> None:
    """Register deployments and automations for scheduled runs with this profile and these settings."""
    from flows.server import prefect_environment

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
    options: Options = Options(), *, pool: tuple[Literal["cpu", "gpu"], ...] = ("cpu", "gpu"), port: Port = 4200
) -> None:
    """Execute scheduled runs of a server's work pools until Ctrl-C, which also stops active runs.

    Parameters
    ----------
    pool
        Work pool to serve; can be repeated.

    """
    from flows.server import prefect_environment
    from flows.workers import work

    redirect_caches(options.layout())
    work(prefect_environment(options.settings().data, port), pool)


@app.command
def search(
    text: tuple[str, ...] = (), options: Options = Options(), *, wanted: SearchOptions = SearchOptions()
) -> None:
    """Search tiles by a text, a tile, a picture or FITS file, or a proposal, with the promoted model.

    Parameters
    ----------
    text
        What the hits show, such as: spiral galaxy.

    """
    from hubbleclip.cli.searching import Format, find_rows, print_hits, reranked_rows

    layout = redirect_caches(options.existing_layout())
    if wanted.rerank:
        rows = reranked_rows(layout, " ".join(text), wanted, options.settings().captions)
    else:
        rows = find_rows(layout, " ".join(text), wanted)
    print_hits(rows, Format.JSON if wanted.json else wanted.format, wanted.group)


@app.command
def tile(files: list[Path], *, out_dir: Annotated[Path, Parameter(name="--out")], options: Options = Options()) -> None:
    """Cut FITS or JPEG files, or folders of files, into tiles; write an index and a contact sheet. No catalog is used.

    Parameters
    ----------
    files
        FITS or JPEG files, such as image.fits.
    out_dir
        Folder of the tiles, such as tiles.

    """
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
    redirect_caches(options.layout())
    serve(settings.simulator)


@app.command
def completion(shell: Literal["bash", "zsh", "fish"] = "bash") -> None:
    """Print a script that completes commands and options; put `source <(hubbleclip completion)` into ~/.bashrc.

    Parameters
    ----------
    shell
        The shell, such as bash.

    """
    print_line(app.generate_completion(shell=shell))


for command in (
    *(listing.status, listing.runs, listing.datasets, listing.reports, listing.promoted, listing.explain),
    *(models.compare, models.benchmark, models.export, querying.sql, serving.serve, serving.mcp),
    *(checking.verify, checking.publish, checking.subset, checking.clean, checking.check_archive, checking.contracts),
    checking.drop,
):
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. An error that the user can correct is printed as one line, with exit code 2."""
    handler = start_logging()
    if arguments is None:  # started from a shell: child processes must not import modules of the current folder
        os.environ.setdefault("PYTHONSAFEPATH", "1")
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with ending_on_interrupt(can_resume=bool(words) and words[0] in RESUMED), closing(handler):
            app(words, exit_on_error=False, print_error=False)
    except (HubbleclipError, CycloptsError, OSError, MemoryError, RuntimeError) as error:
        failure: BaseException | str = machine_error(error) or error
        if isinstance(failure, OSError) and failure.errno in NO_ACCESS_ERRNOS and failure.filename:
            problem = f"{failure.filename} cannot be used ({failure.strerror})"
            failure = f"{problem}: check its permissions, or set --data or --out"
        if isinstance(failure, OSError | RuntimeError):
            raise
        fail(complete_advice(str(failure), shlex.join(given_flags(words))))


def fail(message: str) -> NoReturn:
    """Print an error as one line and exit."""
    sys.stderr.write(f"hubbleclip: {without_control(' '.join(message.split()))}\n")
    atexit.register(silence)
    sys.exit(2)


if __name__ == "__main__":
    main()
