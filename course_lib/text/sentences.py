"""The course's sentence splitter: NLTK's Punkt on text whose line breaks have been understood first.

The tables of `punkt_english` are those of NLTK's `punkt_tab`, so that splitting needs no download.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.text.cleaning import blank_long_runs, straighten_quotes

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

_TABLES = Path(__file__).parent / "punkt_english"
# Bullets, "1." and "2)", and the "##" of a Markdown heading.
_MARKER = re.compile(r"\s*(?:[-–—*+•‣◦▪●·]|\d{1,2}[.)]|[a-zA-Z]\)|#{1,6})\s+")
# Punkt knows only full stop, question and exclamation mark, and only before a space.
_OTHER_END = re.compile(r"[。｡！？।॥؟۔]+[\"'」』）》)]*")
_WRAP_WIDTHS = range(40, 121)
# Punkt learnt its abbreviations from one newspaper.
_MORE_ABBREVIATIONS = {"approx", "capt", "cf", "e.g", "fig", "i.e", "mt", "rev", "vol"}


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """The (start, end) character offsets of the sentences, in order: `text[start:end]` is one, stripped.

    A blank line, a bullet or a number at the start of a line ends a sentence, and so does any line break that
    does not look like a wrapped line; so headings and list items are sentences of their own. Bullets and list
    numbers belong to no sentence, nor does anything else without a letter or a digit.

    Source: Kiss and Strunk (2006), "Unsupervised Multilingual Sentence Boundary Detection", within a line.
    """
    splitter = _splitter()
    straight = straighten_quotes(text)  # one character for one, so offsets stay, as with blank_long_runs
    spans = []
    for unit in _units(text):
        # These ends first: in a script without spaces a whole paragraph would be one long run.
        for start, end in _split_at_other_ends(straight, *unit):
            within = splitter.span_tokenize(blank_long_runs(straight[start:end]))
            spans += [(start + first, start + last) for first, last in within]
    return [_strip(text, *span) for span in spans if re.search(r"[^\W_]", text[slice(*span)])]


def _units(text: str) -> Iterator[tuple[int, int]]:
    """Spans that no sentence leaves: paragraphs, list items, headings."""
    for lines in _paragraphs(text):
        width = max(end - start for start, end in lines)
        unit_start, (start, end) = None, lines[0]
        for next_start, next_end in lines:
            marker = _MARKER.match(text, next_start, next_end)
            if unit_start is None or marker or not _is_wrapped(text[next_start:next_end], end - start, width):
                if unit_start is not None:
                    yield unit_start, end
                unit_start = marker.end() if marker else next_start
            start, end = next_start, next_end
        yield unit_start, end


def _paragraphs(text: str) -> Iterator[list[tuple[int, int]]]:
    """The spans of the lines, without the white space at their ends, grouped at blank lines."""
    lines, position = [], 0
    for line in [*text.splitlines(keepends=True), ""]:
        if line.strip():
            lines.append(_strip(text, position, position + len(line)))
        elif lines:
            yield lines
            lines = []
        position += len(line)


def _is_wrapped(line: str, previous_length: int, width: int) -> bool:
    """Whether a line goes on with the one before: its first word did not fit there any more."""
    first_word = line.split(maxsplit=1)[0]
    return line[0].islower() or (width in _WRAP_WIDTHS and previous_length + 1 + len(first_word) > width)


def _split_at_other_ends(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for match in _OTHER_END.finditer(text, start, end):
        yield start, match.end()
        start = match.end()
    yield start, end


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return end - len(piece.lstrip()), start + len(piece.rstrip())


class _Flags(dict[str, int]):
    """0 for unknown words, without keeping them as Punkt's own table does: they are the reader's."""

    def __missing__(self, word: str) -> int:
        return 0


@functools.cache
def _splitter() -> "PunktSentenceTokenizer":
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    def rows(name: str) -> list[list[str]]:
        lines = (_TABLES / name).read_text(encoding="utf-8").splitlines()
        return [line.split("\t") for line in lines if line]

    parameters = PunktParameters()
    parameters.abbrev_types = {word for (word,) in rows("abbrev_types.txt")} | _MORE_ABBREVIATIONS
    parameters.sent_starters = {word for (word,) in rows("sent_starters.txt")}
    parameters.collocations = {(first, second) for first, second in rows("collocations.tab")}
    parameters.ortho_context = _Flags((word, int(flags)) for word, flags in rows("ortho_context.tab"))
    return PunktSentenceTokenizer(parameters)
