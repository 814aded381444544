"""Cleaning steps: small pure functions from text to text, applied in the order in which they are named."""

import html
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from course_lib.errors import unknown_name

# A comment stops at the next comment's start: otherwise a text of many `<!--` takes quadratic time.
_TAG = re.compile(r"<!--(?:(?!<!--).)*?-->|</?[a-zA-Z][^<>]*>", flags=re.DOTALL)
_STRAIGHT = str.maketrans({"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"'})


def strip_html(text: str) -> str:
    """Replaces HTML tags and comments with a space; a lone `<` as in `I <3 it` stays."""
    return _TAG.sub(" ", text)


def unescape_entities(text: str) -> str:
    """Turns HTML entities into the characters they stand for: `&amp;` → `&`, `&eacute;` → `é`."""
    return html.unescape(text)


def normalize_unicode(text: str) -> str:
    """Brings text to Unicode's NFKC form: one code for one character, ligatures and full-width forms folded.

    Source: Unicode Standard Annex #15.
    """
    return unicodedata.normalize("NFKC", text)


def straighten_quotes(text: str) -> str:
    """Replaces typographic quotes and apostrophes by `'` and `"`, the forms that GloVe's vocabulary holds."""
    return text.translate(_STRAIGHT)


def remove_control_characters(text: str) -> str:
    """Removes control and format characters (NUL, zero-width, bidirectional); line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs"))


def lowercase(text: str) -> str:
    """Lower-cases the text."""
    return text.lower()


def strip_accents(text: str) -> str:
    """Removes accents from letters: `naïve` → `naive`."""
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in decomposed if unicodedata.category(c) != "Mn"))


def collapse_whitespace(text: str) -> str:
    """Turns every run of white space into one space and trims both ends."""
    return " ".join(text.split())


CLEANING_STEPS = {
    step.__name__: step
    for step in (
        strip_html,
        unescape_entities,
        normalize_unicode,
        straighten_quotes,
        remove_control_characters,
        lowercase,
        strip_accents,
        collapse_whitespace,
    )
}

# Tags go before entities are unescaped: `&lt;b&gt;` is text about a tag, not a tag.
DEFAULT_STEPS = (
    "strip_html",
    "unescape_entities",
    "normalize_unicode",
    "straighten_quotes",
    "remove_control_characters",
    "lowercase",
    "collapse_whitespace",
)


def clean(text: str, steps: Sequence[str] = DEFAULT_STEPS) -> str:
    """Applies the named steps to `text`, in order.

    Raises:
        UsageError: a step is not one of `CLEANING_STEPS`.
    """
    for name in steps:
        if name not in CLEANING_STEPS:
            raise unknown_name("cleaning step", name, CLEANING_STEPS)
        text = CLEANING_STEPS[name](text)
    return text


def read_text(path: str | Path) -> str:
    """Reads a UTF-8 file; bytes that are not valid UTF-8 become U+FFFD instead of an error."""
    return Path(path).read_bytes().decode("utf-8-sig", errors="replace")
