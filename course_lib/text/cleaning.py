"""Cleaning steps: small pure functions from text to text, applied in the order in which they are named."""

import html
import itertools
import re
import unicodedata
from collections.abc import Sequence

from course_lib.errors import unknown_name

# A comment stops at the next comment's start: otherwise a text of many `<!--` takes quadratic time.
TAG = re.compile(r"<!--(?:(?!<!--).)*?-->|</?[a-zA-Z][^<>]*>", flags=re.DOTALL)
_STRAIGHT = str.maketrans(
    {"‘": "'", "’": "'", "‚": "'", "‛": "'", "´": "'", "`": "'", "“": '"', "”": '"', "„": '"', "‟": '"'}
)
_LONG_RUN = re.compile(r"(?<=\S{60})\S{80,}(?=\S{60})")
# Python refuses to convert thousands of digits; HTML reads every number that is too large as U+FFFD.
_HUGE_NUMBER = re.compile(r"&#[0-9]{20,};?")
_WINDOWS_1252 = {code: bytes([code]).decode("cp1252", errors="ignore") for code in range(0x80, 0xA0)}


def repair_windows_1252(text: str) -> str:
    """Turns the control characters U+0080 to U+009F into what Windows-1252 means by them: U+0097 → `—`.

    They come from Windows-1252 text that was read as Latin-1; the five without a meaning there are removed.

    Source: HTML Standard, "numeric character reference end state", which reads `&#151;` in the same way.
    """
    return text.translate(_WINDOWS_1252)


def strip_html(text: str) -> str:
    """Replaces HTML tags and comments with a space; a lone `<` as in `I <3 it` stays."""
    return TAG.sub(" ", text)


def unescape_entities(text: str) -> str:
    """Turns HTML entities into the characters they stand for: `&amp;` → `&`, `&eacute;` → `é`."""
    return html.unescape(_HUGE_NUMBER.sub("\ufffd", text))


def normalize_unicode(text: str) -> str:
    """Brings text to Unicode's NFKC form: one code for one character, ligatures and full-width forms folded.

    Of the combining marks on one letter the first 30 stay.

    Source: Unicode Standard Annex #15; section 13 for the 30 marks.
    """
    return unicodedata.normalize("NFKC", _limit_marks(text))


def straighten_quotes(text: str) -> str:
    """Replaces typographic quotes and apostrophes by `'` and `"`, the forms that GloVe's vocabulary holds.

    Goes before `normalize_unicode`, which makes a space and a combining mark of the accent in `don´t`.
    """
    return text.translate(_STRAIGHT)


def remove_control_characters(text: str) -> str:
    """Removes control and format characters (NUL, zero-width, bidirectional); all white space stays."""
    if text.isprintable():
        return text
    return "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def lowercase(text: str) -> str:
    """Lower-cases the text."""
    return text.lower()


def strip_accents(text: str) -> str:
    """Removes accents from letters: `naïve` → `naive`."""
    decomposed = unicodedata.normalize("NFD", _limit_marks(text))
    return unicodedata.normalize("NFC", "".join(c for c in decomposed if unicodedata.category(c) != "Mn"))


def _limit_marks(text: str) -> str:
    # Normalizing sorts the marks of a letter in quadratic time: 1 MB of them would take minutes.
    if text.isascii():
        return text
    runs = itertools.groupby(text, key=lambda char: unicodedata.category(char)[0] == "M")
    return "".join("".join(itertools.islice(run, 30 if is_marks else None)) for is_marks, run in runs)


def blank_long_runs(text: str) -> str:
    """The middle of 200 or more characters without a space becomes spaces; offsets stay.

    No word of a language is that long, and the expressions that find words and sentences need quadratic time.
    """
    return _LONG_RUN.sub(lambda match: " " * len(match.group()), text)


def collapse_whitespace(text: str) -> str:
    """Turns every run of white space into one space and trims both ends."""
    return " ".join(text.split())


CLEANING_STEPS = {
    step.__name__: step
    for step in (
        repair_windows_1252,
        strip_html,
        unescape_entities,
        straighten_quotes,
        remove_control_characters,
        normalize_unicode,
        lowercase,
        strip_accents,
        collapse_whitespace,
    )
}

# Tags go before entities are unescaped: `&lt;b&gt;` is text about a tag, not a tag.
DEFAULT_STEPS = (
    "repair_windows_1252",
    "strip_html",
    "unescape_entities",
    "straighten_quotes",
    "remove_control_characters",
    "normalize_unicode",
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
