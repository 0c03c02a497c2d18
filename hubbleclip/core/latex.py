"""Convert LaTeX commands in plain-text abstracts to Unicode, which people and text models understand.

All functions are pure. A command that is not in the tables of this module loses its backslash and keeps its name.
"""

from __future__ import annotations

import re
import unicodedata

# Unicode names of Greek letters ("GREEK SMALL LETTER ALPHA") end in the LaTeX name of the letter. The only exception is
# lambda, which Unicode spells "lamda".
GREEK = [*map(chr, range(ord("Α"), ord("Ω") + 1)), *map(chr, range(ord("α"), ord("ω") + 1))]
SYMBOLS = (
    {unicodedata.name(char, "").rpartition(" ")[2].lower(): char for char in GREEK if char.islower()}
    | {unicodedata.name(char, "").rpartition(" ")[2].capitalize(): char for char in GREEK if char.isupper()}
    | {"lambda": "λ", "Lambda": "Λ", "varsigma": "ς"}
    | {"varepsilon": "ε", "vartheta": "θ", "varphi": "φ", "varrho": "ρ", "varpi": "π"}
    | {"sim": "~", "approx": "~", "simeq": "~", "times": "x", "cdot": "·", "pm": "+/-", "mp": "-/+", "propto": "∝"}
    | {"geq": ">=", "leq": "<=", "ge": ">=", "le": "<=", "gtrsim": ">~", "lesssim": "<~", "gg": ">>", "ll": "<<"}
    | {"lt": "<", "gt": ">", "neq": "!=", "infty": "infinity", "rightarrow": "->", "to": "->"}
    | {"ldots": "...", "dots": "...", "left": "", "right": "", "quad": " ", "displaystyle": "", "ensuremath": ""}
    | {"arcdeg": "°", "arcmin": "'", "arcsec": '"', "fdg": "°.", "farcm": "'.", "farcs": '".'}
    | {"circ": "°", "degr": "°", "deg": "°", "degree": "°", "prime": "'", "odot": "sun", "oplus": "earth", "star": "*"}
)
LETTERS = {"aa": "å", "AA": "Å", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "ss": "ß"} | {
    "ae": "æ",
    "AE": "Æ",
    "oe": "œ",
    "OE": "Œ",
    "i": "i",
    "j": "j",
}
# Old LaTeX commands that switch the font, as in `{\it text}`.
FONTS = ("it", "bf", "em", "rm", "sl", "tt", "sc")
# Replacements of commands whose name is a symbol: spaces, line breaks, hyphenation hints and formula brackets.
SPACES = {",": " ", ";": " ", ":": " ", " ": " ", "\n": " ", "\\": " ", "-": "", "/": "", "(": "", ")": ""}
# Combining character of Unicode for each LaTeX accent command.
COMBINING = {
    "'": "\u0301",
    "`": "\u0300",
    "^": "\u0302",
    '"': "\u0308",
    "~": "\u0303",
    "=": "\u0304",
    ".": "\u0307",
} | {"c": "\u0327", "v": "\u030c", "u": "\u0306", "H": "\u030b", "k": "\u0328", "r": "\u030a"}

# Matches a backslash that an earlier conversion has doubled, as in `\\alpha`.
DOUBLED = re.compile(r"\\\\(?=[A-Za-z])")
# Matches `\alpha\$`, where the dollar sign that closes a formula was escaped by mistake.
DOLLAR_OF_COMMAND = re.compile(r"(\\[A-Za-z]{1,20})\\\$")
FONT_GROUP = re.compile(rf"\{{\\(?:{'|'.join(FONTS)})\b([^{{}}]*)\}}")
STYLED = re.compile(rf"\\(?:text\w\w|math\w\w\w?|emph|text|mbox|{'|'.join(FONTS)})\{{([^{{}}]*)\}}")
BRACED_ACCENT = re.compile(r"\{\\(['`^\"~=.]|[cvuHkr] )\\?([A-Za-z])\}|\{?\\(['`^\"~=.cvuHkr])\{\\?([A-Za-z])\}(\}?)")
BARE_ACCENT = re.compile(r"(\w?)\\(['`^\"~])([aeiouyAEIOUYcnzN])")
BRACED_LETTER = re.compile(rf"\{{\\({'|'.join(LETTERS)})\}}")
# A formula has at most 100 characters: two dollar signs that are farther apart denote amounts of money.
MATH = re.compile(r"(?<!\\)\$([^$]{1,100})(?<!\\)\$")
COMMAND = re.compile(r"\\(?:([A-Za-z]+)(\{\}| ?)|(.))", re.DOTALL)
# Matches a subscript or superscript in braces, such as `^{-1}`.
SCRIPT = re.compile(r"([\^_])\{([^{}\s]*)\}")
# Matches AASTeX's names of ions, such as `\ion{C}{4}`, and brackets in braces, as in `{[}O III{]}`.
ION = re.compile(r"\\ion\{([A-Z][a-z]?)\}\{([0-9]{1,2}|[a-zA-Z]+)\}")
BRACKET = re.compile(r"\{([\[\]])\}")
ROMAN = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
# Matches the `^` of `30^\circ`, which is removed, because the degree sign is already a raised character.
RAISED_SIGN = re.compile(r"\^(?=[°'\"])")


def latex_to_text(text: str) -> str:
    r"""Replace LaTeX commands by Unicode characters."""
    text = BRACKET.sub(r"\1", text)
    if "\\" in text:
        text = ION.sub(_ion, text)
        # The order is fonts, accents, letters: each step removes braces that would keep the next pattern from matching.
        text = DOLLAR_OF_COMMAND.sub(r"\1 ", DOUBLED.sub(r"\\", text))
        text = STYLED.sub(r"\1", FONT_GROUP.sub(lambda match: match[1].lstrip(), text))
        text = BARE_ACCENT.sub(_bare_accent, BRACED_ACCENT.sub(_braced_accent, text))
        text = BRACED_LETTER.sub(lambda match: LETTERS[match[1]], text)
    text = MATH.sub(_formula, text)
    if "\\" in text:
        text = COMMAND.sub(_command, text)
    return RAISED_SIGN.sub("", SCRIPT.sub(r"\1\2", text))


def _ion(match: re.Match[str]) -> str:
    r"""Write an ion, such as `\ion{C}{4}`, with a Roman numeral."""
    stage, ten = (int(match[2]) % 10, int(match[2]) // 10) if match[2].isdigit() else (0, 0)
    return f"{match[1]} {'X' * ten}{ROMAN[stage]}" if match[2].isdigit() else f"{match[1]} {match[2].upper()}"


def _composed(mark: str, letter: str) -> str | None:
    """Combine a letter and an accent into one character; None if Unicode has no such character."""
    composed = unicodedata.normalize("NFC", letter + COMBINING[mark])
    return composed if len(composed) == 1 else None


def _braced_accent(match: re.Match[str]) -> str:
    r"""Replace `{\"o}`, `\"{o}`, `{\"{o}}` or `{\c c}` by one letter; keep an outer brace that has no partner."""
    mark, letter = (match[1] or match[3]).strip(), match[2] or match[4]
    composed = _composed(mark, letter)
    if composed is None:
        return match[0]
    has_open, has_close = match[0].startswith("{"), match[1] is not None or match[5] == "}"
    return composed if has_open == has_close else f"{'{' * has_open}{composed}{'}' * has_close}"


def _bare_accent(match: re.Match[str]) -> str:
    r"""Replace an accent command without braces, as in `caf\'e` and `\"Opik`, by the accented letter.

    An escaped quotation mark before a word, as in `\"Open\"`, has the same form as an accent but is kept. Inside a
    word, a mark after a backslash is always an accent. At the start of a word, the mark is an accent only if three
    conditions hold: the mark is `'` or `"`, the letter is upper-case, and no closing quotation mark of this kind
    follows.
    """
    before, mark, letter = match.groups()
    # Quotations are rarely longer than 200 characters; the limit keeps the time linear in the length of the text.
    closes = re.search(rf"\\{re.escape(mark)}(?![A-Za-z\\])", match.string[match.end() : match.end() + 200])
    is_sure = bool(before) or (mark in "'\"" and letter.isupper() and closes is None)
    composed = _composed(mark, letter) if is_sure else None
    return match[0] if composed is None else before + composed


def _formula(match: re.Match[str]) -> str:
    """Remove the dollar signs around a formula, but keep dollar signs of amounts of money: `$5M-$10M`, `$5 and $10`."""
    content = match[1].strip()
    if content in SYMBOLS:  # a formula such as `$alpha$`, which has lost its backslash
        return SYMBOLS[content]
    has_marks = any(mark in content for mark in "\\^_")
    after = match.string[match.end() : match.end() + 1]
    is_money = content[:1].isdigit() and (after.isdigit() or match[1][-1].isspace())
    if is_money and not has_marks:
        return match[0]
    return COMMAND.sub(_command, match[1])


def _command(match: re.Match[str]) -> str:
    """Replace one LaTeX command by its Unicode character, or an unknown command by its name."""
    name, after, sign = match.groups()
    if name is None:
        return SPACES.get(sign, sign)
    if name in LETTERS:
        return LETTERS[name]
    if name in FONTS:
        return ""
    return SYMBOLS.get(name, name) + after.strip("{}")
