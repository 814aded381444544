"""Intrinsic tests of word vectors: human similarity ratings and analogies."""

from course_lib.data.fetch import fetch
from course_lib.errors import unknown_name

_FILES = {"simlex999": "simlex999.txt", "wordsim353": "wordsim353.tsv"}


def load_word_pairs(name: str) -> list[tuple[str, str, float]]:
    """Word pairs with the mean human rating, 0 to 10: "simlex999" (similarity) or "wordsim353" (relatedness).

    Raises:
        UsageError: there is no such list.
        CourseError: the data cannot be fetched.

    Sources: Hill, Reichart and Korhonen (2015), "SimLex-999"; Finkelstein et al. (2002), "Placing Search in
    Context".
    """
    if name not in _FILES:
        raise unknown_name("list of word pairs", name, _FILES)
    lines = (fetch("word_similarity") / _FILES[name]).read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return [(first, second, float(rating)) for first, second, rating in rows]


def load_analogies() -> dict[str, list[tuple[str, str, str, str]]]:
    """Google's 19,544 analogy questions "a is to b as c is to d", lower-cased, by section (14 of them).

    Raises:
        CourseError: the data cannot be fetched.

    Source: Mikolov et al. (2013), "Efficient Estimation of Word Representations in Vector Space".
    """
    sections: dict[str, list[tuple[str, str, str, str]]] = {}
    for line in (fetch("word_similarity") / "questions-words.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(": "):
            questions = sections[line.removeprefix(": ")] = []
        else:
            a, b, c, d = line.lower().split()
            questions.append((a, b, c, d))
    return sections
