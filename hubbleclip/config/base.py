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

    def digest(self) -> str:
        """16 hex digits over the sorted JSON of the section; equal settings give equal digests on every machine."""
        return _digest_of(self)


@lru_cache(64)
def _digest_of(section: Section) -> str:
    text = json.dumps(section.model_dump(mode="json", exclude=set(section.not_in_digest)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
