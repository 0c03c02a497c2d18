"""Base class of the settings sections. A section is frozen and has a digest, which catalog rows record."""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings with its own digest. A stage compares digests to find the rows that need new processing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    not_in_digest: ClassVar[frozenset[str]] = frozenset()
    """Names of settings that do not influence the result of a stage. Stored rows stay valid when they change."""
    added_later: ClassVar[frozenset[str]] = frozenset()
    """Names of settings that are part of the digest only if they differ from their default. They were added in later
    releases; this rule keeps the digests of earlier releases valid.
    """

    def digest(self) -> str:
        """Hash the section."""
        fields = type(self).model_fields
        unchanged = {name for name in self.added_later if getattr(self, name) == fields[name].default}
        values = self.model_dump(mode="json", exclude=set(self.not_in_digest) | unchanged)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
