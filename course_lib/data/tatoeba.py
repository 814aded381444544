"""Tatoeba English–Spanish: short sentences with translations by volunteers."""

from collections.abc import Sequence
from typing import NamedTuple

from course_lib.data.fetch import fetch
from course_lib.data.splits import duplicate_key, split_groups
from course_lib.errors import UsageError


class TranslatedSentence(NamedTuple):
    """An English sentence and all its Spanish translations; each has a line that names its authors."""

    source: str
    references: tuple[str, ...]
    attributions: tuple[str, ...]


def load_tatoeba_en_es() -> list[TranslatedSentence]:
    """119,342 English sentences with 140,868 Spanish translations, in the order of the file, short first.

    Raises:
        CourseError: the data cannot be fetched.

    Source: tatoeba.org, CC BY 2.0 FR; the pairs were selected by manythings.org/anki.
    """
    translations: dict[str, list[tuple[str, str]]] = {}
    with open(fetch("tatoeba_en_es") / "spa.tsv", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            source, reference, attribution = line.rstrip("\n").split("\t")
            translations.setdefault(source, []).append((reference, attribution))
    return [TranslatedSentence(source, *zip(*pairs, strict=True)) for source, pairs in translations.items()]


def split_by_source(
    sentences: Sequence[TranslatedSentence], num_validation: int, num_test: int, seed: int
) -> tuple[list[TranslatedSentence], list[TranslatedSentence], list[TranslatedSentence]]:
    """Training, validation and test sentences, each in the order of `sentences`.

    Sources that differ only in case, spaces or punctuation ("Run!", "Run.") go to the same split.

    Args:
        sentences: records with one source each.
        num_validation, num_test: how many sources these two splits get.
        seed: chooses them.

    Raises:
        UsageError: nothing would be left to train on.
    """
    if min(num_validation, num_test) < 0 or num_validation + num_test >= len(sentences):
        raise UsageError(
            f"{num_validation:,} and {num_test:,} sentences cannot be held out of {len(sentences):,}: "
            "at least one must be left to train on."
        )
    groups = [duplicate_key(sentence.source) for sentence in sentences]
    training, test, validation = split_groups(sentences, groups, [num_test, num_validation], seed)
    return training, validation, test
