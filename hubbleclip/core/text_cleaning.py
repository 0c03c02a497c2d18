"""Cleaning of proposal texts to readable prose. Pure functions, each in linear time."""

from __future__ import annotations

import html
import re
import unicodedata

from hubbleclip.core.latex import latex_to_text

MAX_CHARS = 20_000
"""Longer texts are cut at a space before this length; the longest real abstract has about 5,000 characters."""

ESCAPE_LEVELS = 2
"""Some texts were HTML-escaped twice (`&amp;gt;`)."""
# Character references beyond Unicode; `int` refuses the longest of them.
HUGE_ENTITY = re.compile(r"&#[0-9]{8,};?")
# Control characters, soft hyphens, zero-width and bidirectional marks, lone surrogates, non-characters.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\ufffe\uffff]"
)
TAG = re.compile(
    r"<(/?)(sup|sub|p|br|li|ul|ol|i|b|u|em|it|strong|tt|a|font|span)(?:\s+\w+=[^<>]*)?\s*/?>", re.IGNORECASE
)
# Suspended hyphens, as in `pre- and post-`, are not joined.
NO_LINK = r"(?!(?:and|or|to|vs|versus|nor)\b)"
BROKEN_AT_HYPHEN = re.compile(rf"-(?<=[\w-]-)[ \t]*\r?\n[ \t]*(?=\w){NO_LINK}")
SPACED_HYPHEN = re.compile(rf"- (?<=[a-z]- )(?=[a-z]){NO_LINK}")
# A sentence mark between two lower-case letters and a capitalised word: the space between them was lost.
JOINED_SENTENCES = re.compile(r"([.?!;,])(?=[A-Z][a-z])(?<=[a-z)][a-z)].)")
HONORIFIC = re.compile(r"^(?:(?:Dr|Prof|Mr|Mrs|Ms|Miss|Sir)\.?\s+)+", re.IGNORECASE)


def decode(data: bytes) -> str:
    """Decode a file of the archive: UTF-8, or line by line UTF-8 or Windows-1252.

    Parameters
    ----------
    data
        Content of the file.

    Returns
    -------
    str
        Undecodable bytes become U+FFFD.

    Notes
    -----
    The bulk list of abstracts was appended to over decades, so its lines differ in encoding. Windows-1252 contains all
    letters of ISO-8859-1.

    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(map(_decode_line, data.splitlines(keepends=True)))


def _decode_line(line: bytes) -> str:
    """Decode one line as UTF-8, or else as Windows-1252."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def clean_text(text: str | None) -> str | None:
    r"""Clean a title or abstract to readable prose.

    Parameters
    ----------
    text
        As the archive stores it; may hold HTML entities and tags, LaTeX, hard line breaks and control characters.

    Returns
    -------
    str or None
        At most `MAX_CHARS` long, one space between words, no line breaks. None for an empty text and for the word
        `None`.

    Notes
    -----
    Words are repaired only where the repair is unambiguous: a word broken after its hyphen is joined
    (`self-\nconsistent`, `radio- quiet`, but not `pre- and post-`), and two sentences without a space between them
    get one (`ways.Spiral`: two lower-case letters, a mark, a capital and a lower-case letter). Two words run together
    (`currentlybelieved`) and lost characters that STScI shows as `?` stay, because a guess would damage other texts.

    """
    is_cut = len(text or "") > MAX_CHARS
    text = (text or "")[:MAX_CHARS]
    if "&" in text:
        for _ in range(ESCAPE_LEVELS):
            text = html.unescape(HUGE_ENTITY.sub("?", text))
    # Invisible characters before tags: a tag may be interrupted by one.
    text = INVISIBLE.sub(_visible, text)
    if "<" in text:
        text = TAG.sub(_without_tag, text)
    text = " ".join(BROKEN_AT_HYPHEN.sub("-", text).split())
    if any(mark in text for mark in "\\$^_"):
        text = latex_to_text(text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    # What LaTeX leaves: its quotation marks and its grouping braces.
    text = text.replace("``", '"').replace("''", '"').replace("{}", "").replace("{", "(").replace("}", ")")
    text = " ".join(SPACED_HYPHEN.sub("-", JOINED_SENTENCES.sub(r"\1 ", text)).split())
    if is_cut or len(text) > MAX_CHARS:
        text = text[:MAX_CHARS].rpartition(" ")[0] or text[:MAX_CHARS]
    return None if text.lower() in {"", "none"} else text


def _visible(match: re.Match[str]) -> str:
    r"""Repair or drop an invisible character.

    Windows-1252 that was decoded as ISO-8859-1 is repaired, and so is a `\a` or `\b` of LaTeX (`\alpha`, `\beta`) that
    a program took for an escape; the others are dropped.
    """
    char = match[0]
    if char in "\a\b":
        follows = match.string[match.end() : match.end() + 1]
        return {"\a": r"\a", "\b": r"\b"}[char] if follows.islower() else ""
    return bytes([ord(char)]).decode("cp1252", "ignore") if "\x80" <= char <= "\x9f" else ""


def _without_tag(match: re.Match[str]) -> str:
    """Replace an HTML tag: scripts by `^` and `_`, blocks by a space, fonts and links by nothing."""
    close, name = match[1], match[2].lower()
    if name in {"sup", "sub"}:
        return "" if close else {"sup": "^", "sub": "_"}[name]
    return " " if name in {"p", "br", "li", "ul", "ol"} else ""


def clean_name(text: str | None) -> str | None:
    """Clean a person's name and remove titles.

    Parameters
    ----------
    text
        Such as `Dr. Edwin Hubble`.

    Returns
    -------
    str or None
        Such as `Edwin Hubble`.

    """
    return clean_text(HONORIFIC.sub("", (text or "")[:MAX_CHARS].strip()))


def clean_number(text: str | None) -> str:
    """Proposal number without leading zeros.

    Parameters
    ----------
    text
        Such as `05397` or `GO-5397`.

    Returns
    -------
    str
        The first number of at most 9 digits; empty when the text has none.

    """
    match = re.search(r"[0-9]+", text or "")
    return (match[0].lstrip("0") or "0") if match and len(match[0]) <= 9 else ""


def clean_cycle(text: str | None) -> int | None:
    """Number of an observing cycle.

    Parameters
    ----------
    text
        Such as `Cycle 28`.

    Returns
    -------
    int or None
        The first number of at most 3 digits; None when the text has none.

    """
    match = re.search(r"(?<![0-9])[0-9]{1,3}(?![0-9])", text or "")
    return int(match[0]) if match else None
