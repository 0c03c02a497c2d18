"""Make texts from outside harmless to print: a control character could send a command to the terminal."""

from __future__ import annotations

import re

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters except tab and line feed, and marks that change the direction of the text."""


def without_control(text: str) -> str:
    """Replace the control characters of a text by U+FFFD."""
    return CONTROL.sub("\ufffd", text)
