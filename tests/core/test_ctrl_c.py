"""A command ends within seconds of Ctrl-C, whatever its threads do."""

import signal
import subprocess
import sys

import pytest

from hubbleclip.core.interrupts import GRACE_S

HELD = """
import ctypes, os, signal
from hubbleclip.core.interrupts import ending_on_interrupt
with ending_on_interrupt(can_resume=False):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        ctypes.PyDLL(None).sleep(60)  # keeps the interpreter's lock, so that no thread can run
"""


@pytest.mark.slow
def test_a_library_that_keeps_the_interpreters_lock_does_not_keep_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELD], capture_output=True, text=True, timeout=20 * GRACE_S, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGALRM, "hubbleclip: stopped\n")
