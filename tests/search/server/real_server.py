"""`hubbleclip serve` in a process of its own."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from commands import command, environment

from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search.server.running_server import RunningServer, find_server


@contextmanager
def served(settings: Settings, *words: str, **variables: str) -> Iterator[tuple[RunningServer, subprocess.Popen]]:
    """Serve a profile on a free port until the block ends."""
    line = command("serve", "--port", "0", *words, data=settings.data)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment() | variables) as process:
        deadline = time.monotonic() + 300
        while (found := find_server(Layout(settings.root).search_server)) is None or found.pid != process.pid:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield found, process
        process.kill()
