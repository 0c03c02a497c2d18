"""Clean the texts of proposals so that they are readable prose. All functions are pure and take linear time."""

from __future__ import annotations

import html
import re
import unicodedata

from hubbleclip.core.latex import latex_to_text

MAX_CHARS = 20_000
"""Maximum length of a text in characters. A longer text is cut at the last space before this length.

The longest real abstract has about 5,000 characters.
"""

ESCAPE_LEVELS = 2
"""Number of times that HTML entities are decoded: twice, because some texts were escaped twice (`&amp;gt;`)."""
# Matches numeric character references beyond the range of Unicode. The longest numbers would make `int` raise an error.
HUGE_ENTITY = re.compile(r"&#[0-9]{8,};?")
# Matches control characters, soft hyphens, zero-width and bidirectional marks, lone surrogates and non-characters.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\ufffe\uffff]"
)
TAG = re.compile(
    r"<(/?)(sup|sub|p|br|li|ul|ol|i|b|u|em|it|strong|tt|a|font|span)(?:\s+\w+=[^<>]*)?\s*/?>", re.IGNORECASE
)
# Negative lookahead for a conjunction: the space after the hyphen in `pre- and post-` is correct.
NO_LINK = r"(?!(?:and|or|to|vs|versus|nor)\b)"
BROKEN_AT_HYPHEN = re.compile(rf"-(?<=[\w-]-)[ \t]*\r?\n[ \t]*(?=\w){NO_LINK}")
SPACED_HYPHEN = re.compile(rf"- (?<=[a-z]- )(?=[a-z]){NO_LINK}")
# Matches a punctuation mark that lost its space: it is between two lower-case letters and a capitalised word.
JOINED_SENTENCES = re.compile(r"([.?!;,])(?=[A-Z][a-z])(?<=[a-z)][a-z)].)")
HONORIFIC = re.compile(r"^(?:(?:Dr|Prof|Mr|Mrs|Ms|Miss|Sir)\.?\s+)+", re.IGNORECASE)


def decode(data: bytes) -> str:
    """Decode a text file of the archive line by line: each line as UTF-8 if it is valid, else as Windows-1252.

    Lines were added to the archive's list of all abstracts over decades, so the lines have different encodings.
    Windows-1252 contains all letters of ISO-8859-1.
    """
    return "".join(map(_decode_line, data.splitlines(keepends=True)))


def _decode_line(line: bytes) -> str:
    """Decode one line as UTF-8 if it is valid, else as Windows-1252."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def clean_text(text: str | None) -> str | None:
    r"""Clean a title or an abstract to one line of prose of at most `MAX_CHARS`; None if it is empty or `None`.

    Text is repaired only where the repair is unambiguous. A word that is broken after a hyphen is joined
    (`self-\nconsistent` and `radio- quiet`, but not `pre- and post-`). A missing space between two sentences is
    inserted, as in `ways.Spiral`, where two lower-case letters precede the punctuation mark and a capitalised word
    follows it. Two words without a space between them (`currentlybelieved`) and characters that STScI has replaced by
    `?` are kept, because a rule that guesses would damage other texts.
    """
    is_cut = len(text or "") > MAX_CHARS
    text = (text or "")[:MAX_CHARS]
    for _ in range(ESCAPE_LEVELS):
        text = html.unescape(HUGE_ENTITY.sub("?", text))
    # Remove invisible characters first, then tags: an invisible character inside a tag would hide the tag from `TAG`.
    text = TAG.sub(_without_tag, INVISIBLE.sub(_visible, text))
    text = " ".join(BROKEN_AT_HYPHEN.sub("-", text).split())
    text = unicodedata.normalize("NFC", latex_to_text(text))
    # LaTeX writes quotation marks as `` and '', and groups text by braces.
    text = text.replace("``", '"').replace("''", '"').replace("{}", "").replace("{", "(").replace("}", ")")
    text = " ".join(SPACED_HYPHEN.sub("-", JOINED_SENTENCES.sub(r"\1 ", text)).split())
    if is_cut or len(text) > MAX_CHARS:
        text = text[:MAX_CHARS].rpartition(" ")[0] or text[:MAX_CHARS]
    return None if text.lower() in {"", "none"} else text


def _visible(match: re.Match[str]) -> str:
    r"""Repair or remove an invisible character.

    A character of Windows-1252 that was wrongly decoded as ISO-8859-1 is decoded again. The control characters BEL and
    BS before a lower-case letter become `\a` and `\b`: another program has interpreted the start of a LaTeX command
    (`\alpha`, `\beta`) as an escape sequence. All other invisible characters are removed.
    """
    char = match[0]
    if char in "\a\b":
        follows = match.string[match.end() : match.end() + 1]
        return {"\a": r"\a", "\b": r"\b"}[char] if follows.islower() else ""
    return bytes([ord(char)]).decode("cp1252", "ignore") if "\x80" <= char <= "\x9f" else ""


def _without_tag(match: re.Match[str]) -> str:
    """Replace an HTML tag: `<sup>` by `^`, `<sub>` by `_`, block tags by a space; remove font and link tags."""
    close, name = match[1], match[2].lower()
    if name in {"sup", "sub"}:
        return "" if close else {"sup": "^", "sub": "_"}[name]
    return " " if name in {"p", "br", "li", "ul", "ol"} else ""


def clean_name(text: str | None) -> str | None:
    """Clean a person's name and remove titles such as `Dr.`; None if nothing remains."""
    return clean_text(HONORIFIC.sub("", (text or "")[:MAX_CHARS].strip()))


def clean_number(text: str | None) -> str:
    """Extract the first number of at most 9 digits, without leading zeros; "" if there is none."""
    match = re.search(r"[0-9]+", text or "")
    return (match[0].lstrip("0") or "0") if match and len(match[0]) <= 9 else ""


def without_zeros(name: str) -> str:
    """Remove the leading zeros of a name that is a number, so that "05397" and "5397" are one name."""
    return name.lstrip("0") or "0" if re.fullmatch("[0-9]+", name) else name


def clean_cycle(text: str | None) -> int | None:
    """Extract an observing cycle, the first number of at most 3 digits; None if there is none."""
    match = re.search(r"(?<![0-9])[0-9]{1,3}(?![0-9])", text or "")
    return int(match[0]) if match else None
