"""Texts of proposals as they come, made into readable prose. Pure functions, each in linear time."""

from __future__ import annotations

import html
import re
import unicodedata

from hubbleclip.core.latex import read_latex

MAX_CHARS = 20_000
"""A longer text is cut here, at a space: the longest real abstract has about 5,000 characters."""

ESCAPES = 2
"""Some texts were escaped twice (`&amp;gt;`)."""
HUGE_ENTITY = re.compile(r"&#[0-9]{8,};?")
UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\ufffe\uffff]"
)
TAG = re.compile(
    r"<(/?)(sup|sub|p|br|li|ul|ol|i|b|u|em|it|strong|tt|a|font|span)(?:\s+\w+=[^<>]*)?\s*/?>", re.IGNORECASE
)
NO_LINK = r"(?!(?:and|or|to|vs|versus|nor)\b)"
BROKEN_AT_HYPHEN = re.compile(rf"-(?<=[\w-]-)[ \t]*\r?\n[ \t]*(?=\w){NO_LINK}")
SPACED_HYPHEN = re.compile(rf"- (?<=[a-z]- )(?=[a-z]){NO_LINK}")
JOINED_SENTENCES = re.compile(r"([.?!;,])(?=[A-Z][a-z])(?<=[a-z)][a-z)].)")
HONORIFIC = re.compile(r"^(?:(?:Dr|Prof|Mr|Mrs|Ms|Miss|Sir)\.?\s+)+", re.IGNORECASE)


def decode(data: bytes) -> str:
    """The text of a file: UTF-8 where it is that, else Windows-1252 (with all letters of ISO-8859-1), line by line, as
    files were written over decades.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(map(_decode_line, data.splitlines(keepends=True)))


def _decode_line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def clean_text(text: str | None) -> str | None:
    r"""Readable prose, at most MAX_CHARS long: entities, LaTeX and braces resolved, broken lines joined, nothing
    unseen, one space between words. None for nothing and for the word `None`.

    Words are mended across lines only where it is sure: a word broken after its hyphen is joined (`self-\nconsistent`,
    `radio- quiet`, but not `pre- and post-`), and two sentences that lost the space between them get it back
    (`ways.Spiral`: two small letters, a mark, a capital and a small letter). Two words run together
    (`currentlybelieved`) and the lost characters that STScI shows as `?` stay: to guess would do harm elsewhere.
    """
    is_cut = len(text or "") > MAX_CHARS
    text = (text or "")[:MAX_CHARS]
    if "&" in text:
        for _ in range(ESCAPES):
            text = html.unescape(HUGE_ENTITY.sub("?", text))
    text = UNSEEN.sub(_seen, text)
    if "<" in text:
        text = TAG.sub(_without_tag, text)
    text = " ".join(BROKEN_AT_HYPHEN.sub("-", text).split())
    if any(mark in text for mark in "\\$^_"):
        text = read_latex(text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    text = text.replace("``", '"').replace("''", '"').replace("{}", "").replace("{", "(").replace("}", ")")
    text = " ".join(SPACED_HYPHEN.sub("-", JOINED_SENTENCES.sub(r"\1 ", text)).split())
    if is_cut or len(text) > MAX_CHARS:
        text = text[:MAX_CHARS].rpartition(" ")[0] or text[:MAX_CHARS]
    return None if text.lower() in {"", "none"} else text


def _seen(match: re.Match[str]) -> str:
    r"""Windows-1252 that was taken for ISO-8859-1 is mended, and so is a `\a` or `\b` that some language took for an
    escape (`\alpha`); other controls, halves of surrogate pairs, and what turns or hides text are dropped.
    """
    char = match[0]
    if char in "\a\b":
        follows = match.string[match.end() : match.end() + 1]
        return {"\a": r"\a", "\b": r"\b"}[char] if follows.islower() else ""
    return bytes([ord(char)]).decode("cp1252", "ignore") if "\x80" <= char <= "\x9f" else ""


def _without_tag(match: re.Match[str]) -> str:
    close, name = match[1], match[2].lower()
    if name in {"sup", "sub"}:
        return "" if close else {"sup": "^", "sub": "_"}[name]
    return " " if name in {"p", "br", "li", "ul", "ol"} else ""


def clean_name(text: str | None) -> str | None:
    """A person's name without a title."""
    return clean_text(HONORIFIC.sub("", (text or "")[:MAX_CHARS].strip()))


def clean_number(text: str | None) -> str:
    """A proposal's number without leading zeros; empty when there is none."""
    match = re.search(r"[0-9]+", text or "")
    return (match[0].lstrip("0") or "0") if match and len(match[0]) <= 9 else ""


def clean_cycle(text: str | None) -> int | None:
    """The cycle's number; None when it is missing."""
    match = re.search(r"(?<![0-9])[0-9]{1,3}(?![0-9])", text or "")
    return int(match[0]) if match else None
