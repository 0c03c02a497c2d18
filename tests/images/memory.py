"""Peak memory of the process that asks, free of what its parent took: `ru_maxrss` survives fork and exec on Linux."""

import re
from pathlib import Path


def peak_kb() -> int:
    """The most that has been resident since this program began, in kB."""
    return int(re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])
