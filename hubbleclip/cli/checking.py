"""Commands that check or change data: `check-archive`, `contracts`, `verify`, `publish`, `subset`, `drop`, `clean`."""

from __future__ import annotations

import sys
from pathlib import Path

from hubbleclip.cli.options import DatasetPlace, Json, Options
from hubbleclip.cli.output import print_facts, print_json, print_line, print_rows
from hubbleclip.cli.running import redirect_caches
from hubbleclip.core.errors import HubbleclipError, SettingsError
from hubbleclip.core.id_prefixes import find_id


def check_archive(options: Options = Options(), *, json: Json = False, keep: Path | None = None) -> None:
    """Check with a few requests whether an archive answers as needed, and estimate the size and duration of an ingest.

    The answers are compared with recorded answers. The exit code is 0 if all answers agree, 1 if an answer differs,
    and 2 if the ingest would stop or lose data.

    Parameters
    ----------
    keep
        Folder that all answers are saved to, such as `mast-answers`.

    """
    from rich.filesize import decimal

    from hubbleclip.archives.check.estimate import estimate_lines
    from hubbleclip.pipeline.check_archive import as_plain, disk_line
    from hubbleclip.pipeline.check_archive import check_archive as check

    settings = options.settings()
    redirect_caches(options.layout())
    report, estimated = check(settings, keep)
    if json:
        print_json(as_plain(report, estimated))
        sys.exit(report.level)
    rows = [
        {"what": one.what, "needed": one.needed, "found": one.found, "": one.level.name.lower()}
        for one in report.findings
    ]
    print_rows(rows)
    measured = report.measured
    if measured.bytes_per_s is not None:
        print_line(f"measured: {decimal(round(measured.bytes_per_s))} per second and connection")
    num, took_s = measured.num_requests, measured.total_s
    print_line(f"{num} requests in {took_s:.1f} s; estimate for {options.profile}, within a factor of two:")
    missing = {"estimate": "not possible, because a measurement is missing"}
    print_facts(estimate_lines(estimated) | {"disk": disk_line(estimated, settings)[1]} if estimated else missing)
    sys.exit(report.level)


def drop(name: str, options: Options = Options(), *, yes: bool = False) -> None:
    """Drop a product or a proposal permanently, with its tiles and their index entries, after asking for confirmation.

    Datasets and runs that contain the tiles are listed and not changed.

    Parameters
    ----------
    name
        Data URI of a product, or number of a proposal, such as 17301.
    yes
        Do not ask.

    """
    from hubbleclip.pipeline.drop import drop as drop_lineage

    def confirm(summary: str) -> bool:
        if not yes and not sys.stdin.isatty():
            raise SettingsError(f"{summary} would be dropped: add --yes")
        return yes or input(f"drop {summary}? [y/N] ").strip().lower() == "y"

    redirect_caches(options.layout())
    print_line(drop_lineage(options.settings(), name, confirm))


def contracts(options: Options = Options(), *, joined: Path | None = None) -> None:
    """Check the catalog against every rule of the data contracts. The exit code is 1 if a row breaks a rule.

    Parameters
    ----------
    joined
        Write all contracts to one file for datacontract-cli, such as joined.odcs.yaml; nothing is checked.

    """
    from hubbleclip.catalog.catalog import read_catalog
    from hubbleclip.contracts.validation import check_rules, joined_contract

    layout = options.layout()
    if joined is not None:
        joined.write_text(joined_contract(layout.catalog), encoding="utf-8")
        return
    with read_catalog(layout) as catalog:
        results = sorted(check_rules(catalog.query), key=lambda result: result.num_broken > 0)  # broken rules last
    print_rows([result._asdict() for result in results])
    num_broken = sum(result.num_broken > 0 for result in results)
    print_line(f"{len(results) - num_broken} of {len(results)} rules hold")
    sys.exit(1 if num_broken else 0)


def verify(dataset: DatasetPlace, options: Options = Options()) -> None:
    """Hash every byte of a dataset, and search for leaks between its splits."""
    from hubbleclip.dataset.verify import find_faults

    place = find_dataset(dataset, options)
    faults = list(find_faults(place))
    for fault in faults:
        sys.stderr.write(f"hubbleclip: {fault}\n")
    if faults:
        sys.exit(2)
    print_line(f"{place} is intact")


def publish(
    folder: str, url: str, options: Options = Options(), *, model: bool = False, pictures: bool = False
) -> None:
    """Verify a dataset, then upload it to a URL from which others can read it.

    Parameters
    ----------
    folder
        Folder of a dataset or of an exported model, or first characters of a digest, such as 022de0.
    url
        Destination of the copy, such as s3://bucket/prefix, hf://datasets/owner/name or a folder.
    model
        Publish an exported model; URL may be hf://owner/name.
    pictures
        Also publish a sky catalogue with pictures, for LSDB.

    """
    if model:
        from hubbleclip.training.models.trained_model import publish_model

        print_line(publish_model(Path(folder), url))
        return
    from hubbleclip.dataset.publish import publish as publish_dataset
    from hubbleclip.dataset.verify import verify_dataset

    place = find_dataset(folder, options)
    verify_dataset(place)
    print_line(publish_dataset(Path(place), url, has_pictures=pictures))


def clean(options: Options = Options(), *, runs: bool = False) -> None:
    """Delete files that no command needs any more; the files in a remote store are kept.

    Parameters
    ----------
    runs
        Delete the checkpoints of finished runs, except the best and the last.

    """
    if not runs:
        raise HubbleclipError("select what to delete: write `hubbleclip clean --runs`")
    from rich.filesize import decimal

    from hubbleclip.training.checkpoints import prune_checkpoints, read_best
    from hubbleclip.training.runs import FINISHED, runs_in

    finished = [folder for folder, _ in runs_in(options.existing_layout().runs, status=FINISHED)]
    sizes = [size for folder in finished for size in prune_checkpoints(folder, read_best(folder)["step"], 1)]
    print_line(f"deleted {len(sizes)} checkpoints of {len(finished)} finished runs, {decimal(sum(sizes))}")


def subset(
    dataset: DatasetPlace,
    options: Options = Options(),
    *,
    selection: str = "",
    ids: Path | None = None,
    query: str = "",
    most: int = 1000,
    to: Path | None = None,
) -> None:
    """Make a dataset of some tiles of another dataset, with a new digest and the same splits.

    Parameters
    ----------
    selection
        Take the tiles of a selection that was saved in the search, such as arcs.
    ids
        File whose lines begin with a tile id, such as tiles.csv.
    query
        Take the hits of a search, written as on the search page, such as 'spiral galaxy F814W'.
    most
        Maximum number of hits of --query, such as 500.
    to
        Folder below which the dataset is written, such as subsets; by default a folder of the profile.

    """
    from hubbleclip.dataset.build import make_subset

    if sum(map(bool, (selection, ids, query))) != 1:
        raise HubbleclipError("give one of --selection, --ids and --query")
    redirect_caches(options.layout())
    if ids:
        if not ids.is_file():
            raise HubbleclipError(f"there is no file {ids}: give a file whose lines begin with a tile id")
        lines = ids.read_text(encoding="utf-8", errors="replace").splitlines()
        tile_ids = [name for line in lines if (name := line.split(",")[0].strip()) not in ("", "tile_id")]
    elif selection:
        from hubbleclip.search.selections import read_selection

        tile_ids = list(read_selection(options.layout().selections, selection).tile_ids)
    else:
        from hubbleclip.search.engine import Search
        from hubbleclip.search.params import SearchParams, checked

        params = checked(SearchParams, {"q": query, "k": most, "group": "none"})
        tile_ids = [hit.tile_id for hit in Search(options.layout()).run(params).hits]
    folder = to or options.layout().subsets
    made = make_subset(find_dataset(dataset, options), tile_ids, folder).dataset
    print_line(f"{folder / made.digest}: {made.num_samples} of {len(set(tile_ids))} tiles")


def find_dataset(text: str, options: Options) -> str:
    """Return the path or URL of a dataset; `text` is a path, a URL or the first characters of a digest."""
    if "/" in text or Path(text).exists():
        return text
    folder = options.layout().datasets
    digests = [path.name for path in folder.glob("[!.]*")]
    return str(folder / find_id(text, digests, kind="dataset", listed_by="hubbleclip datasets"))
