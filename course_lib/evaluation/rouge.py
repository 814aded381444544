"""ROUGE, and the best summary that extraction could reach by it."""

import functools
import types
from collections.abc import Sequence

import numpy as np

from course_lib.errors import UsageError

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")


def rouge_scores(summaries: Sequence[str], references: Sequence[str]) -> dict[str, np.ndarray]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of each summary against its reference, as F1 between 0 and 1.

    Words are lower-cased and reduced to their Porter stems; the library knows only the letters a to z and
    digits. An empty summary scores 0. A summary of several sentences is one sequence of words.

    Args:
        summaries: one text for each document.
        references: the texts they should resemble, in the same order.

    Returns:
        `rouge1`, `rouge2` and `rougeL`, each float64 (num_documents,).

    Raises:
        UsageError: not one reference for each summary.

    Source: Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries".
    """
    if len(summaries) != len(references):
        raise UsageError(f"There are {len(summaries)} summaries but {len(references)} references.")
    scores = [_scorer().score(reference, text) for text, reference in zip(summaries, references, strict=True)]
    return {kind: np.array([score[kind].fmeasure for score in scores], dtype=float) for kind in ROUGE_TYPES}


def greedy_oracle(sentences: Sequence[str], reference: str, num_sentences: int) -> list[int]:
    """The sentences that a summarizer who knew the reference would choose; a bound, for evaluation only.

    Adds the sentence that raises ROUGE-1 + ROUGE-2 most, and stops early when none raises it.

    Args:
        sentences: all sentences of the document.
        reference: the summary that they are compared with.
        num_sentences: at most this many are chosen.

    Returns:
        Increasing indices of the chosen sentences.

    Source: Nallapati, Zhai and Zhou (2017), "SummaRuNNer", section 2.3.
    """
    chosen, best = [], 0.0
    while len(chosen) < num_sentences:
        candidates = [sorted([*chosen, index]) for index in range(len(sentences)) if index not in chosen]
        texts = [" ".join(sentences[index] for index in candidate) for candidate in candidates]
        scores = rouge_scores(texts, [reference] * len(texts))
        gains = scores["rouge1"] + scores["rouge2"]
        if not len(gains) or gains.max() <= best:
            break
        chosen, best = candidates[int(gains.argmax())], gains.max()
    return chosen


@functools.cache
def _scorer():
    from rouge_score import rouge_scorer, tokenizers

    # The reference of many candidates is stemmed once.
    tokenize = functools.lru_cache(maxsize=1_000)(tokenizers.DefaultTokenizer(use_stemmer=True).tokenize)
    return rouge_scorer.RougeScorer(ROUGE_TYPES, tokenizer=types.SimpleNamespace(tokenize=tokenize))
