"""Explain stored codes in words: why an item is rejected, why a tile is in no split, and what class a target has."""

from __future__ import annotations

from collections.abc import Mapping

REASON_WORDS: dict[str, str] = {
    # observations and products that are not chosen
    "no_proposal": "no proposal is named",
    "no_name": "no name in the archive",
    "no_obsid": "no obsid, which is needed to list its files",
    "stale_number": "withdrawn or renumbered by the archive",
    "reprocessed": "a mosaic of visits that are listed separately",
    "no_science_image": "no usable image among its files",
    "foreign_files": "no listed file can be used",
    "covered": "another file of the same visit is chosen",
    "over_limit": "more files of the proposal than archive.max_products_per_proposal",
    "repeated": "the same bytes as another file",
    "dropped": "removed by hubbleclip drop",
    "skipped": "not read because of its name",
    "not_found": "no such proposal in the archive",
    "unanswered": "no answer to the query for the proposal",
    # files
    "missing": "not in the archive",
    "denied": "the archive does not allow access",
    "html": "a web page instead of the file",
    "truncated": "an incomplete file",
    "damaged": "a damaged file",
    "checksum": "a wrong checksum",
    "stalled": "a download that stalled",
    "timeout": "no answer in time",
    "redirect": "a redirection that is not followed",
    "refused": "a request that the server rejects",
    "busy": "a busy archive, or a file that another run is fetching",
    "server_error": "a failure of the archive",
    "connection": "a broken connection",
    "not_fetched": "not fetched yet",
    "no_file": "no file on the disk",
    "unreadable": "not a readable file",
    "empty": "an empty file",
    "too_large": "larger than the limit",
    # images
    "not_an_image": "not a picture of the sky",
    "calibration": "a calibration exposure",
    "no_image": "no image in the file",
    "not_chosen": "an image that is not the science image of its file",
    "too_small": "fewer pixels than tiles.min_side_px",
    "all_invalid": "no valid pixel",
    "too_little_valid": "too few valid pixels",
    "no_signal": "too few pixels above the background",
    "no_wcs": "no WCS",
    "no_flux_scale": "no scale of flux",
    "no_aim": "no known aim point",
    # captions
    "no_caption": "no caption",
    "no_text": "no abstract",
    "no_object": "no object is named in the abstract",
    "invalid_json": "an answer of the model that is not JSON",
    "invalid_answer": "an answer of the model that breaks the schema",
    "bad_response": "an answer that is not a chat completion",
    "server_failure": "a failure of the model's server",
    # runs
    "not_scored": "a run that cannot be scored on val",
    # any item
    "contract": "breaks the data contract by the rule {detail}",
    "machine": "a failure of the disk or the memory at this item",
    "unexpected": "an unexpected failure, which the log describes",
    # tiles that are in no split
    "sky_guard:overlap": "at most {guard_arcsec} arcsec from a tile of val or test",
    "sky_guard:moving_target": "the same moving target as a tile of val or test",
    "sky_guard:old_train": "at most {guard_arcsec} arcsec from an earlier tile of train",
    "sky_guard:old_val": "at most {guard_arcsec} arcsec from an earlier tile of val",
    "group_conflict": "a proposal whose text links it to earlier proposals of different splits",
    "late_link": "a proposal whose text now links it to a proposal of another split",
    "proposal_cap": "more than {max_tiles_per_proposal} tiles of the proposal (splits.max_tiles_per_proposal)",
    "patch_cap": "more than {max_tiles_per_patch} tiles in a sky patch of 3.4 arcmin (splits.max_tiles_per_patch)",
    "scheme:spans": "a proposal group that has held-out tiles",
    "scheme:unknown": "unknown instrument, cycle or programme number",
    "scheme:group_changed": "a group of proposals that has changed its split",
}
"""Explanation of each code. The name of a setting of `splits` in braces is replaced by the value of the setting, and
{detail} is replaced by the text after the first colon of the stored code.
"""


SIMULATED_TERM = "simulated"
"""First term in the class of a simulated target; the terms after it name the kind of object."""


class _Numbers(dict[str, object]):
    """Values for the names in braces; a name without a value becomes the setting's name (`splits.guard_arcsec`)."""

    def __missing__(self, name: str) -> str:
        return f"splits.{name}"


def class_words(target_class: str | None) -> list[str]:
    """Split the class of a target, such as `GALAXY;SPIRAL`, into lower-case terms."""
    return [term.strip().lower() for term in (target_class or "").split(";") if term.strip()]


def object_class(target_class: str | None) -> str:
    """Format a target's class for readers: `SIMULATED;SPIRAL GALAXY` becomes `spiral galaxy (simulated)`."""
    terms = class_words(target_class)
    return f"{', '.join(terms[1:])} (simulated)" if terms[:1] == [SIMULATED_TERM] else ", ".join(terms)


def count_of(num: int, noun: str) -> str:
    """Join a number and a noun; the noun gets a plural s unless the number is 1."""
    return f"{num} {noun}{'' if num == 1 else 's'}"


def reason_words(reason: str, splits: Mapping[str, object] | None = None) -> str:
    """Say in words why an item is rejected, or why a tile is in no split."""
    code, _, detail = reason.partition(":")
    words = REASON_WORDS.get(reason) or REASON_WORDS.get(code)
    if words is None:  # a code of another version of hubbleclip, which may contain braces
        return reason.replace("_", " ").replace(":", " ")
    return words.format_map(_Numbers(splits or {}, detail=detail))
