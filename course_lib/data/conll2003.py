"""CoNLL-2003 English: tokens with part-of-speech, chunk and named-entity tags."""

from course_lib.data.fetch import fetch
from course_lib.data.records import TaggedSentence
from course_lib.errors import CourseError, unknown_name

_SPLITS = ("train", "valid", "test")


def load_conll2003(split: str) -> list[TaggedSentence]:
    """The official splits: "train" 14,041, "valid" 3,250 and "test" 3,453 sentences; entities in BIO.

    Raises:
        UsageError: the split does not exist.
        CourseError: the data cannot be fetched, or a line of it has not four columns.

    Source: Tjong Kim Sang and De Meulder (2003), "Introduction to the CoNLL-2003 Shared Task".
    """
    if split not in _SPLITS:
        raise unknown_name("split of CoNLL-2003", split, _SPLITS)
    path = fetch("conll2003") / f"{split}.txt"
    sentences, rows, document = [], [], -1
    for number, line in enumerate([*path.read_text(encoding="utf-8").split("\n"), ""], 1):
        columns = line.split()
        if columns and len(columns) != 4:
            raise CourseError(
                f"{path}, line {number}: expected token, POS, chunk and entity, found {line!r}."
            )
        if columns and columns[0] != "-DOCSTART-":
            rows.append(columns)
            continue
        if rows:
            sentences.append(TaggedSentence(*zip(*rows, strict=True), document=max(document, 0)))
            rows = []
        if columns:
            document += 1
    return sentences
