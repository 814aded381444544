"""Exact match and token F1 of answers, by the rules of SQuAD."""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from course_lib.errors import UsageError

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Lower-cases and removes punctuation, the articles a, an and the, and surplus spaces, in this order.

    Source: Rajpurkar et al. 2016, "SQuAD", section 6.1, and its evaluation script.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, reference: str) -> float:
    """1 if both are the same after `normalize_answer`, otherwise 0; two empty texts are the same."""
    return float(normalize_answer(answer) == normalize_answer(reference))


def token_f1(answer: str, reference: str) -> float:
    """The harmonic mean of precision and recall of the answer's words, each counted as often as it occurs.

    If nothing is left of one of them after `normalize_answer`, it is 1 if both are empty and 0 otherwise.

    Source: Rajpurkar et al. 2016, section 6.1; Rajpurkar et al. 2018, "Know What You Don't Know", for empty
    answers.
    """
    words, reference_words = (normalize_answer(text).split() for text in (answer, reference))
    if not words or not reference_words:
        return float(words == reference_words)
    num_shared = (Counter(words) & Counter(reference_words)).total()
    return 2 * num_shared / (len(words) + len(reference_words))


def span_scores(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Exact match and token F1 of each answer, against the reference that suits it best.

    Args:
        answers: one text for each question; empty means "no answer".
        references: for each question the texts that people gave; empty if the passage does not tell. Then
            only an empty answer is right.

    Returns:
        `exact_match` and `f1`, each float64 (num_questions,), from 0 to 1.

    Raises:
        UsageError: not one sequence of references for each answer, or a text in its place.
    """
    if len(answers) != len(references):
        raise UsageError(f"There are {len(answers)} answers but references for {len(references)} questions.")
    if any(isinstance(texts, str) for texts in references):
        raise UsageError("The references of a question are a list of texts, not one text.")
    pairs = list(zip(answers, [list(texts) or [""] for texts in references], strict=True))
    return {
        name: np.array([max(score(answer, text) for text in texts) for answer, texts in pairs], dtype=float)
        for name, score in (("exact_match", exact_match), ("f1", token_f1))
    }
