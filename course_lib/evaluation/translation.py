"""BLEU and chrF of translations with several references, on top of sacrebleu."""

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from course_lib.errors import UsageError

_MAX_ORDER = 4


def bleu(translations: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU from 0 to 100, as sacrebleu computes it by default.

    Args:
        translations: one text for each source.
        references: for each source all its references, one or more.

    Raises:
        UsageError: no translations, or a source without reference.

    Source: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"; Post
    2018, "A Call for Clarity in Reporting BLEU Scores".
    """
    streams = _streams(translations, references)
    return float(BLEU().corpus_score(list(translations), streams).score)


def chrf(translations: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus chrF from 0 to 100, as sacrebleu computes it by default (characters up to 6-grams, beta 2).

    Arguments and errors as in `bleu`.

    Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation".
    """
    streams = _streams(translations, references)
    return float(CHRF().corpus_score(list(translations), streams).score)


def bleu_counts(translations: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """What each sentence adds to the sums that corpus BLEU is computed from, for intervals and slices.

    Arguments and errors as in `bleu`.

    Returns:
        float64 (num_sentences, 10): matches and numbers of n-grams for n = 1 to 4, the length of the
        translation and that of the closest reference, in tokens.
    """
    _streams(translations, references)
    metric = BLEU(effective_order=True)  # the score of single sentences is not used; only this silences it
    scores = [
        metric.sentence_score(text, list(texts)) for text, texts in zip(translations, references, strict=True)
    ]
    return np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores], float)


def bleu_of_sums(sums: np.ndarray) -> np.ndarray:
    """Corpus BLEU from summed `bleu_counts`, (..., 10) to (...); with `bootstrap_interval` its interval.

    As in sacrebleu, an order without any match counts as half a match, the next such order as a quarter
    (exponential smoothing); without any n-gram of an order the score is 0.

    Source: Papineni et al. 2002, section 2.3; Chen and Cherry 2014, smoothing 3.
    """
    sums = np.asarray(sums, dtype=np.float64)
    matches, totals = sums[..., :_MAX_ORDER], sums[..., _MAX_ORDER : 2 * _MAX_ORDER]
    num_missing = np.cumsum(matches == 0, axis=-1)
    smoothed = np.where(matches == 0, 0.5**num_missing, matches)
    precisions = smoothed / np.maximum(totals, 1)
    brevity = np.exp(np.minimum(0.0, 1 - sums[..., -1] / np.maximum(sums[..., -2], 1)))
    score = 100 * brevity * np.exp(np.log(precisions).mean(axis=-1))
    return np.where((totals > 0).all(axis=-1) & (matches[..., 0] > 0), score, 0.0)


def _streams(translations: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """References as sacrebleu takes them: one list for the first of each source, one for the second, …"""
    if len(translations) != len(references) or len(translations) == 0:
        raise UsageError(
            f"There are {len(translations)} translations but references for {len(references)} sources."
        )
    if any(isinstance(texts, str) or len(texts) == 0 for texts in references):
        raise UsageError("The references of a source are a list of texts, with at least one.")
    return [
        [texts[rank] if rank < len(texts) else None for texts in references]
        for rank in range(max(map(len, references)))
    ]
