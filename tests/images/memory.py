"""Peak memory of the process that asks, free of what its parent took: `ru_maxrss` survives fork and exec on Linux.

`python memory.py SETTINGS FILE...` cuts each file, and prints what came of it and by how many kB the peak grew.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images.tiling import tile_file


def peak_kb() -> int:
    """The most that has been resident since this program began, in kB."""
    return int(re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def outcomes_of(*paths: Path, **settings: object) -> list[tuple[str, int]]:
    """What a process of its own makes of each file, and the growth of its peak in kB; the first file warms it up."""
    command = [sys.executable, __file__, json.dumps(settings), *paths]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [(outcome, int(grown_kb)) for outcome, grown_kb in (line.split() for line in lines[1:])]


def cut(name: str, settings: TileSettings) -> str:
    try:
        return f"{len(tile_file(name, '0' * 64, settings).tiles)}_tiles"
    except ImageError as error:
        return error.reason


if __name__ == "__main__":
    for name in sys.argv[2:]:
        before_kb = peak_kb()
        sys.stdout.write(f"{cut(name, TileSettings(**json.loads(sys.argv[1])))} {peak_kb() - before_kb}\n")
