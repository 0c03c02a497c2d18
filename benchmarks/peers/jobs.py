"""Job loop of the children of `tile_peers`: each line on stdin is a job as JSON, each response a number of tiles."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping


def serve(jobs: Mapping[str, Callable[..., int]]) -> None:
    """Run jobs until stdin ends; what libraries print goes to stderr."""
    responses, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        job = json.loads(line)
        print(jobs[job.pop("job")](**job), file=responses, flush=True)
