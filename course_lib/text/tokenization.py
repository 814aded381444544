"""The course's word tokenizer: one regular expression, in the manner of the Penn Treebank, with offsets."""

import re
import unicodedata


def _character_class(category_prefix: str) -> str:
    """A regular-expression class body of all characters whose Unicode category begins with the prefix."""
    points = [p for p in range(0x300, 0xFFFF) if unicodedata.category(chr(p))[0] == category_prefix]
    ranges, start = [], points[0]
    for point, following in zip(points, [*points[1:], None], strict=True):
        if following != point + 1:
            ranges.append(f"\\u{start:04x}-\\u{point:04x}")
            start = following
    return "".join(ranges)


# Python's \w leaves out combining marks, without which Hindi or decomposed accents fall apart.
_MARKS = f"[{_character_class('M')}]*"
_LETTER = rf"[^\W_]{_MARKS}"
_CJK = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"

_TOKEN = re.compile(
    rf"""
      (?:[A-Za-z]\.){{2,}}                    # abbreviations: U.S.
    | [:;=][-']?[()DP|/\\](?![\w/])           # emoticons: :-)  but http://
    | \d+(?:[.,:]\d+)+                        # numbers: 1,000.50  10:30
    | {_CJK}                                  # scripts without spaces: one character, one token
    | (?:(?!{_CJK}){_LETTER})+?(?=n't\b)      # do|n't
    | n't\b
    | '(?:s|re|ve|ll|d|m)\b                   # it|'s
    | (?:(?!{_CJK}){_LETTER})+                # words
    | \.{{2,}}                                # ellipsis
    | \S{_MARKS}                              # any other character stands alone
    """,
    flags=re.VERBOSE | re.IGNORECASE,
)


def tokenize(text: str) -> list[str]:
    """Splits text into words, numbers, contractions (`do n't`, `it 's`) and single punctuation marks.

    Source: contractions follow the Penn Treebank (Marcus et al. 1993), which GloVe's vocabulary shares.
    """
    return _TOKEN.findall(text)


def token_spans(text: str) -> list[tuple[int, int]]:
    """The (start, end) character offsets of the tokens: `text[start:end]` is the token."""
    return [match.span() for match in _TOKEN.finditer(text)]
