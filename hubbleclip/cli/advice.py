"""Complete the commands that messages advise by the profile and the data root of the command that was given."""

from __future__ import annotations

import re
from collections.abc import Sequence

ADVISED = re.compile(r"`(hubbleclip [^`]*)`")
"""A command in a message."""
CARRIED = ("--profile", "--data")
"""Options that an advised command needs as well."""


def given_flags(arguments: Sequence[str]) -> list[str]:
    """Find the options that an advised command must repeat."""
    flags: list[str] = []
    for given, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, is_joined, value = given.partition("=")
        if name in CARRIED and (value := value if is_joined else following):
            flags += [name, value]
    return flags


def complete_advice(message: str, flags: str) -> str:
    """Add options to each command in a message, unless the command names a profile."""
    if not flags:
        return message
    return ADVISED.sub(lambda found: found[0] if "--profile" in found[1] else f"`{found[1]} {flags}`", message)
