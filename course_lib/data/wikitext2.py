"""WikiText-2 raw: good and featured Wikipedia articles."""

import gzip
import re

from course_lib.data.fetch import fetch
from course_lib.errors import unknown_name

_SPLITS = ("train", "valid", "test")
_HEADING = re.compile(r"=( =)* .* =( =)*")


def load_wikitext2(split: str) -> list[str]:
    """The paragraphs of "train", "valid" or "test"; headings and blank lines are left out.

    Tokens are separated by spaces; " @-@ ", " @.@ " and " @,@ " stand for a hyphen, point and comma inside a
    word or number. Nothing is replaced by an unknown token.

    Raises:
        UsageError: the split does not exist.
        CourseError: the data cannot be fetched.

    Source: Merity et al. (2016), "Pointer Sentinel Mixture Models".
    """
    if split not in _SPLITS:
        raise unknown_name("split of WikiText-2", split, _SPLITS)
    with gzip.open(fetch("wikitext2") / f"{split}.raw.gz", "rt", encoding="utf-8", newline="\n") as lines:
        paragraphs = [line.strip() for line in lines]
    return [paragraph for paragraph in paragraphs if paragraph and not _HEADING.fullmatch(paragraph)]
