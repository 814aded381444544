"""NLTK's Punkt tables and stop-word lists, without a download at run time."""

from course_lib.data.fetch import fetch
from course_lib.errors import unknown_name


def load_stop_words(language: str = "english") -> frozenset[str]:
    """NLTK's stop words of a language.

    Raises:
        UsageError: there is no list for the language.
        CourseError: the data cannot be fetched.
    """
    lists = {path.name: path for path in (fetch("nltk_data") / "corpora" / "stopwords").iterdir()}
    if language not in lists:
        raise unknown_name("stop-word language", language, lists)
    return frozenset(line.strip() for line in lists[language].read_text(encoding="utf-8").splitlines()) - {""}
