"""A command ends within seconds of Ctrl-C, whatever its threads do."""

import signal
import subprocess
import sys

import pytest

from hubbleclip.core.interrupts import GRACE_S, INTERRUPTED

HELD = """
import ctypes, os, signal
from hubbleclip.core.interrupts import ending_on_interrupt
with ending_on_interrupt(can_resume=False):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        ctypes.PyDLL(None).sleep(60)  # keeps the interpreter's lock, so that no thread can run
"""

HELD_WORKER = """
import ctypes, multiprocessing, time
from hubbleclip.core import interrupts
interrupts.GRACE_S = 0.1
multiprocessing.get_context("fork").Process(target=ctypes.PyDLL(None).sleep, args=[60]).start()
interrupts.end_soon()
time.sleep(60)
"""


@pytest.mark.slow
def test_a_library_that_keeps_the_interpreters_lock_does_not_keep_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELD], capture_output=True, text=True, timeout=20 * GRACE_S, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGALRM, "hubbleclip: stopped\n")


def test_a_worker_that_holds_its_interpreters_lock_ends_with_its_command() -> None:
    done = subprocess.run([sys.executable, "-c", HELD_WORKER], stdout=subprocess.PIPE, timeout=30, check=False)
    assert done.returncode == INTERRUPTED  # and the worker has closed the pipe
