"""Failures of the machine are recognised in the errors of each library, and are no property of an item."""

import errno
import os

import pytest

from hubbleclip.archives.http.responses import DamagedError
from hubbleclip.core.errors import DiskFullError, ItemError, MachineError, machine_error, needing

STALE = f"I/O error: {os.strerror(errno.ESTALE)} (os error 116)"


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(errno.ENOSPC, "", "a.png"), DiskFullError, "a.png cannot be written"),
        (OSError(errno.EIO, ""), MachineError, "a.npy cannot be read or written"),
        (OSError(errno.EMFILE, ""), MachineError, "a limit of the system is reached"),
        (ValueError(STALE), MachineError, "check the disk"),
        (MemoryError(), MachineError, "the memory does not suffice"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), MachineError, "the memory does not suffice"),
        (OSError(errno.ENOENT, "", "a.png"), None, ""),
        (PermissionError(errno.EACCES, ""), None, ""),
        (ItemError("unreadable", STALE), None, ""),
        (DamagedError(STALE), None, ""),  # what a server says of its own disk
    ],
)
def test_a_failure_of_the_machine_is_found(error: Exception, kind: type[MachineError] | None, said: str) -> None:
    wrapped = KeyError("x")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        failure = machine_error(one, "a.npy")
        assert type(failure) is (kind or type(None))
        assert said in str(failure)


def test_a_module_that_is_installed_but_fails_is_not_reported_as_missing() -> None:
    with pytest.raises(ImportError, match="libcudart"), needing("ray", "a runner"):
        raise ImportError("libcudart.so: cannot open shared object file")
