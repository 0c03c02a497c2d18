"""Count the nested calls of our functions when a file is requested, a tile is written and a search reads or scans.

The functions are those of `hubbleclip` and `flows`, from the command or the HTTP route to the call, in all threads
through which the work passes. Give a folder in which `hubbleclip demo` has run, because a search needs an index:
`python -m tools.call_depth FOLDER`.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from starlette.testclient import TestClient

from hubbleclip.cli.app import main
from hubbleclip.core.layout import Layout
from hubbleclip.search.engine import Search
from hubbleclip.search.server.application import create_app
from hubbleclip.search.server.search_service import SearchService
from hubbleclip.search.server.security import Access

ROOT = Path(__file__).parents[1]
OURS = (str(ROOT / "hubbleclip"), str(ROOT / "flows"))
SMALL = ["--set", "simulator.num_proposals=3", "--set", "simulator.frame_px=200", "--set", "tiles.size_px=160"]
ENDS = {
    "fetch": ("fetch_file", "sendall"),
    "tile": ("store_tiles", "fsync open write"),
    "search": ("search", "_fetch _rows cdist"),
}
"""For each measure a function that is on the stack, and the calls at which the stack is counted.

DuckDB's own calls cannot be seen, so the stack is counted at the functions that run a query.
"""


class Depths:
    """The deepest stacks. `given` has the stack that gave a work item to a pool, by the id of the work item."""

    def __init__(self) -> None:
        self.deepest: dict[str, list[str]] = {}
        self.given: dict[int, list[str]] = {}
        self.thread = threading.local()

    def stack(self, frame: FrameType | None) -> list[str]:
        """List our functions on the stack of a thread, after those of the thread that gave it its work."""
        own: list[str] = []
        while frame is not None:
            if frame.f_code.co_filename.startswith(OURS) and not frame.f_code.co_name.startswith("<module"):
                own.append(frame.f_code.co_name)
            frame = frame.f_back
        return [*getattr(self.thread, "base", []), *reversed(own)]

    def note(self, frame: FrameType, event: str, called: Any) -> None:
        """Take an event of `sys.setprofile`."""
        if event == "call" and frame.f_code.co_qualname == "_WorkItem.__init__":
            self.given[id(frame.f_locals["self"])] = self.stack(frame)
        elif event == "call" and frame.f_code.co_qualname == "_WorkItem.run":
            self.thread.base = self.given.pop(id(frame.f_locals["self"]), [])
        elif event in ("call", "c_call"):
            end = frame.f_code.co_name if event == "call" else called.__name__
            for name, (function, calls) in ENDS.items():
                if end in calls.split() and function in (stack := self.stack(frame)):
                    is_command = "main" in stack
                    kept = stack if is_command else stack[stack.index(function) :]
                    key = name if is_command else f"{name} by HTTP"
                    if len(kept) > len(self.deepest.get(key, [])):
                        self.deepest[key] = kept


def measure(data: Path) -> dict[str, list[str]]:
    """Run the commands and return the deepest stack of each measure."""
    depths = Depths()
    with tempfile.TemporaryDirectory() as empty:
        commands = [
            ["ingest", "--no-server", "--data", empty, *SMALL],
            ["tiles", "--no-server", "--data", empty, *SMALL],
            ["search", "a galaxy", "--data", str(data)],
        ]
        # The model is loaded before, because loading it under the profiler would exceed the time limit of a request.
        searched = Search(Layout(data / "demo"))
        searched.load_model()
        service = SearchService(search=searched, explain=lambda tile_id: {"tile_id": tile_id})
        threading.setprofile(depths.note)
        sys.setprofile(depths.note)
        for words in commands:
            with contextlib.suppress(SystemExit):
                main(words)
        with TestClient(create_app(service, Access()), base_url="http://localhost") as client:
            client.get("/api/v1/search?q=a+galaxy").raise_for_status()
        sys.setprofile(None)
        threading.setprofile(None)
    return depths.deepest


if __name__ == "__main__":
    for measured, stack in measure(Path(sys.argv[1])).items():
        sys.stdout.write(f"{measured} {len(stack)}: {' > '.join(stack)}\n")
