"""What every group of settings is: frozen, and with a digest by which a stage knows which settings made a row."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings with a digest of its own, so that a stage knows which settings made a row."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    not_in_digest: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how an answer is got, never the answer."""
    added_later: ClassVar[frozenset[str]] = frozenset()
    """Settings that are in the digest only when they differ from their default, so that older digests stay valid."""

    def digest(self) -> str:
        """16 hex digits over the sorted JSON of the section; equal settings give equal digests on every machine."""
        return _digest_of(self)


@lru_cache(64)
def _digest_of(section: Section) -> str:
    fields = type(section).model_fields
    unchanged = {name for name in section.added_later if getattr(section, name) == fields[name].default}
    values = section.model_dump(mode="json", exclude=set(section.not_in_digest) | unchanged)
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
