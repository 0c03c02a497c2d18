"""Serve jobs to `tiles_apart`: each line on stdin is one, as JSON; each answer a number."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping


def serve(jobs: Mapping[str, Callable[..., int]]) -> None:
    """Do jobs until stdin ends; what libraries print goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        job = json.loads(line)
        print(jobs[job.pop("job")](**job), file=answers, flush=True)
