"""Base class of the settings sections. A section is frozen and has a digest, which catalog rows record."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings with its own digest. A stage compares digests to find the rows that need new processing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    not_in_digest: ClassVar[frozenset[str]] = frozenset()
    """Names of settings that do not influence the result of a stage. Changing them invalidates no stored row."""
    added_later: ClassVar[frozenset[str]] = frozenset()
    """Names of settings that enter the digest only if they differ from their default. They were added in later
    releases, and digests of earlier releases must stay valid.
    """

    def digest(self) -> str:
        """Hash the section.

        Returns
        -------
        str
            16 hex digits of the SHA-256 of the sorted JSON. Equal settings give equal digests on every machine.

        """
        return _digest_of(self)


@lru_cache(64)  # stages request the digest for every item, and frozen sections can be cached
def _digest_of(section: Section) -> str:
    """Compute the digest of a section."""
    fields = type(section).model_fields
    unchanged = {name for name in section.added_later if getattr(section, name) == fields[name].default}
    values = section.model_dump(mode="json", exclude=set(section.not_in_digest) | unchanged)
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
