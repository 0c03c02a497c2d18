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

SCRIPT = """
import os, signal
from hubbleclip.core.interrupts import ending_on_interrupt
press = lambda: os.kill(os.getpid(), signal.SIGINT)
before = signal.getsignal(signal.SIGINT)
with ending_on_interrupt(can_resume={can_resume}):
    {work}
print(signal.getsignal(signal.SIGINT) is before)
"""
STOPPED = "hubbleclip: stopped\n"


@pytest.mark.parametrize(
    ("work", "can_resume", "expected"),
    [
        ("pass", True, (0, "True\n", "")),
        ("signal.signal(signal.SIGINT, signal.SIG_DFL)", True, (0, "False\n", "")),
        ("press()", True, (INTERRUPTED, "", "hubbleclip: stopped; run the same command again to resume\n")),
        ("try: press()\n    finally: press(); 1 / 0", False, (INTERRUPTED, "", STOPPED)),
    ],
)
def test_an_interrupted_command_ends_with_one_line_and_another_leaves_the_handler_as_it_was(
    work: str, can_resume: bool, expected: tuple[int, str, str]
) -> None:
    code = SCRIPT.format(work=work, can_resume=can_resume)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == expected


@pytest.mark.slow
def test_a_library_that_keeps_the_interpreters_lock_does_not_keep_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELD], capture_output=True, text=True, timeout=20 * GRACE_S, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGALRM, STOPPED)


def test_a_worker_that_holds_its_interpreters_lock_ends_with_its_command() -> None:
    done = subprocess.run([sys.executable, "-c", HELD_WORKER], stdout=subprocess.PIPE, timeout=30, check=False)
    assert done.returncode == INTERRUPTED  # and the worker has closed the pipe
