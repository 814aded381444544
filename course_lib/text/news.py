"""Tokens as the newspaper text of CoNLL-2003 has them, with offsets."""

import re

from course_lib.text.cleaning import blank_long_runs
from course_lib.text.tokenization import token_spans

# Longer words of which a full stop is part; single capitals (initials) are in the expression below.
_ABBREVIATIONS = (
    "Adm|Ala|Apr|Ariz|Aug|Ave|Brig|Bros|Calif|Capt|Co|Col|Colo|Conn|Corp|Cpl|Dec|Dr|Feb|Fla|Ft|Ga|Gen|Gov|"
    "Hon|Ill|Inc|Ind|Jan|Jr|Jul|Jun|Kan|Lt|Ltd|Maj|Mar|Mass|Messrs|Mich|Minn|Miss|Mo|Mr|Mrs|Ms|Mt|Neb|Nev|No|"
    "Nov|Oct|Okla|Ont|Ore|Penn|Pa|Ph|Prof|Rep|Rev|Sen|Sep|Sept|Sgt|Sr|St|Ste|Tenn|Tex|Va|Vt|Wash|Wis|vs"
)
_ONE_TOKEN = re.compile(
    rf"""
      (?:[^\W\d_]\.)+[^\W\d_]?(?:-[^\W_]+)+       # U.S.-led
    | (?<![\w.])(?:{_ABBREVIATIONS})\.(?![\s"')]*\Z)   # Mr.  Corp.  vs.
    | (?<![\w.'&-])[A-Z]\.(?=\s+[A-Z])            # initials: J. Smith
    | (?<!\S)\d{{1,2}}\.(?=\s+[A-Z])              # ranks in lists: 1. Michael Johnson
    | [+-]?\d[\d.,:]*(?:[-/]\d[\d.,:]*)*\d(?:-[^\W\d_]+)+   # 12-year-old
    | (?<![\w.,:/+-])[+-]?\d+(?:[.,:]\d+)*(?:[-/]+\d+(?:[.,:]\d+)*)+(?![\w])   # 6-4  1996-08-22  1/2
    | (?<![\w.,:/-])[+]\d+(?:[.,:]\d+)*(?:-\d+)*      # +44  +0.05
    | (?<![\w.])\.\d+                             # .500
    | [A-Z]{{1,3}}\$                              # A$  US$
    | (?:[^\W_]|(?<=[^\W_])['&](?=[^\W_]))+(?:-(?:[^\W_]|(?<=[^\W_])['&](?=[^\W_]))+)+  # British-born
    | [A-Z]+(?:&[A-Z]+)+                          # AT&T
    | [DLO]'[A-Z][^\W\d_]+                        # O'Brien
    | o'clock
    | -{{2,}}                                     # a dash of a typewriter
    """,
    flags=re.VERBOSE,
)
_CONTRACTION = re.compile(r"(?:n't|'(?:s|re|ve|ll|d|m))$", flags=re.IGNORECASE)


def news_token_spans(text: str) -> list[tuple[int, int]]:
    """The (start, end) character offsets of the tokens: those of `token_spans`, some of them joined.

    One token are, as in CoNLL-2003, words with hyphens (`British-born`), scores, dates and fractions (`6-4`,
    `1996-08-22`, `1/2`), abbreviations with their full stop (`Mr.`, `Corp.`, the initial in `J. Smith`), and
    names such as `O'Brien` and `AT&T`.

    Source: the tokens of Tjong Kim Sang and De Meulder 2003.
    """
    joined = iter([*_joined_spans(text), (len(text) + 1, len(text) + 1)])
    start, end = next(joined)
    spans = []
    for span in token_spans(text):
        while end <= span[0]:
            start, end = next(joined)
        if spans and start <= spans[-1][0] and span[1] <= end:
            spans[-1] = (spans[-1][0], span[1])
        else:
            spans.append(span)
    return spans


def _joined_spans(text: str) -> list[tuple[int, int]]:
    spans = []
    for match in _ONE_TOKEN.finditer(blank_long_runs(text)):
        start, end = match.span()
        contraction = _CONTRACTION.search(match.group())
        spans.append((start, start + contraction.start() if contraction else end))
    return spans
