"""Count what a writer has written about the abstracts, and what is pending."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.config.settings import CaptionSettings


def read_caption_status(catalog: Catalog, settings: CaptionSettings, writer: str) -> dict[str, Any]:
    """Count the abstracts that a writer has written about, the failed and pending ones, phrases,
    requests and tokens.
    """
    if not writer:
        return {}
    return catalog.named_query(
        "caption_status", writer=writer, settings_digest=settings.digest(), now=datetime.now(UTC)
    )[0]


def caption_line(found: Mapping[str, Any]) -> str:
    """Format the state of the captions as one line."""
    return (
        "{writer} wrote about {num_written} of {num_abstracts} abstracts, {num_failed} failed ({failed_share:.1%}),"
        " {num_ungrounded} of {num_named} phrases ungrounded ({ungrounded_share:.1%}), {num_calls} requests"
    ).format(**found)
