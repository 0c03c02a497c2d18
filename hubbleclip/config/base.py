"""Base class of the settings sections: frozen, with a digest that rows store to record the settings they depend on."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings with its own digest, which a stage compares to find rows of other settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    not_in_digest: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how a result is obtained, never the result; a change of them invalidates nothing."""
    added_later: ClassVar[frozenset[str]] = frozenset()
    """Settings that are in the digest only when they differ from their default, so that older digests stay valid."""

    def digest(self) -> str:
        """Hash the section.

        Returns
        -------
        str
            16 hex digits over the sorted JSON; equal settings give equal digests on every machine.

        """
        return _digest_of(self)


@lru_cache(64)  # sections are frozen, and stages request the digest per item
def _digest_of(section: Section) -> str:
    """Compute the digest of a section."""
    fields = type(section).model_fields
    unchanged = {name for name in section.added_later if getattr(section, name) == fields[name].default}
    values = section.model_dump(mode="json", exclude=set(section.not_in_digest) | unchanged)
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
