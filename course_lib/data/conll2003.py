"""CoNLL-2003 English: tokens with part-of-speech, chunk and named-entity tags."""

import re

from course_lib.data.fetch import fetch
from course_lib.data.records import TaggedSentence
from course_lib.errors import CourseError, unknown_name

_SPLITS = ("train", "valid", "test")
ENTITY_TYPES = ("LOC", "MISC", "ORG", "PER")
_TAG = re.compile(rf"O|[BI]-(?:{'|'.join(ENTITY_TYPES)})")


def load_conll2003(split: str) -> list[TaggedSentence]:
    """The official splits: "train" 14,041, "valid" 3,250 and "test" 3,453 sentences; entities in BIO.

    Raises:
        UsageError: the split does not exist.
        CourseError: the data cannot be fetched, or a line of it is wrong: not four columns, an unknown entity
            tag, an I- tag that continues nothing, a sentence without a token. File and line are named.

    Source: Tjong Kim Sang and De Meulder (2003), "Introduction to the CoNLL-2003 Shared Task".
    """
    if split not in _SPLITS:
        raise unknown_name("split of CoNLL-2003", split, _SPLITS)
    path = fetch("conll2003") / f"{split}.txt"
    sentences, rows, document, after_blank = [], [], -1, False
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    for number, line in enumerate([*lines, ""], 1):
        columns = line.split()
        where = f"{path}, line {number}"
        if columns and len(columns) != 4:
            raise CourseError(f"{where}: expected token, POS, chunk and entity, found {line!r}.")
        if not columns and after_blank:
            raise CourseError(f"{where}: a sentence without a token; one blank line parts two sentences.")
        after_blank = not columns
        if columns and columns[0] != "-DOCSTART-":
            _check_tag(columns[3], rows[-1][3] if rows else "O", where)
            rows.append(columns)
            continue
        if rows:
            sentences.append(TaggedSentence(*zip(*rows, strict=True), document=max(document, 0)))
            rows = []
        if columns:
            document += 1
    return sentences


def _check_tag(tag: str, previous: str, where: str) -> None:
    if not _TAG.fullmatch(tag):
        raise CourseError(f"{where}: unknown entity tag {tag!r}; known: O, B-… and I-… of {ENTITY_TYPES}.")
    if tag[0] == "I" and previous[2:] != tag[2:]:
        raise CourseError(f"{where}: {tag!r} continues no entity; the first token of one has B-.")
