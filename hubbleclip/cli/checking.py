"""The command that checks an archive before the first ingest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hubbleclip.cli.options import Json, Options
from hubbleclip.cli.output import print_facts, print_json, print_line, print_rows
from hubbleclip.cli.running import redirect_caches
from hubbleclip.core.layout import Layout


def check_archive(
    options: Options = Options(),
    *,
    json: Json = False,
    keep: Annotated[Path | None, Parameter(help="Folder in which all answers are saved, such as answers.")] = None,
) -> None:
    """Check with a few requests whether an archive answers as the ingest needs, and estimate the ingest.

    The exit code is 0, 1 if the archive differs from what is known of it, or 2 if the ingest would stop.
    """
    from hubbleclip.archives.check.estimate import amount, estimate_lines
    from hubbleclip.pipeline.check_archive import as_plain
    from hubbleclip.pipeline.check_archive import check_archive as check

    settings = options.settings()
    redirect_caches(Layout(settings.root))
    report, estimated = check(settings, keep)
    if json:
        print_json(as_plain(report, estimated))
        sys.exit(report.level)
    print_rows(
        [
            {"what": one.what, "needed": one.needed, "found": one.found, "": one.level.name.lower()}
            for one in report.findings
        ]
    )
    measured = report.measured
    if measured.bytes_per_s is not None:
        print_line(f"measured: {amount(measured.bytes_per_s)} per second and connection")
    for name, seconds in (("page of observations", measured.rows_s), ("product list", measured.list_s)):
        if seconds is not None:
            print_line(f"measured: {seconds:.2f} s per {name}")
    print_line(f"{measured.num_requests} requests in {measured.total_s:.1f} s; estimate for {options.profile}:")
    print_facts(estimate_lines(estimated) if estimated else {"estimate": "a figure is missing"})
    sys.exit(report.level)
