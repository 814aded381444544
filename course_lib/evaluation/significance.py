"""Is one system better than another on the same documents, or was it luck?"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from course_lib.data.labels import check_labels
from course_lib.errors import UsageError
from course_lib.evaluation.bootstrap import Interval, bootstrap_interval

_ROWS_AT_ONCE = 500


def paired_bootstrap(
    scores: np.ndarray,
    baseline_scores: np.ndarray,
    *,
    level: float = 0.95,
    num_samples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The mean difference between two systems with its percentile interval over resampled documents.

    Args:
        scores, baseline_scores: one score for each document, in the same order, (num_documents,).
        level: share of the resampled means that the interval holds.
        num_samples: how often the documents are drawn anew, with replacement.
        seed: makes the draws repeatable.

    Raises:
        UsageError: the scores are not two arrays of one length, none, or not finite; or no samples.

    Source: Koehn (2004), "Statistical Significance Tests for Machine Translation Evaluation", section 4.
    """
    differences = _differences(scores, baseline_scores)
    counts = np.stack([differences, np.ones(len(differences))], axis=1)
    return bootstrap_interval(
        counts, lambda sums: sums[..., 0] / sums[..., 1], num_resamples=num_samples, level=level, seed=seed
    )


def sign_flip_test(
    scores: np.ndarray, baseline_scores: np.ndarray, *, num_samples: int = 10_000, seed: int = 0
) -> float:
    """How often chance alone gives a mean difference this large: a two-sided p-value.

    If the systems were equally good, the sign of each document's difference would be a coin toss; the signs
    are tossed `num_samples` times. The smallest possible value is 1 / (num_samples + 1).

    Args and errors as in `paired_bootstrap`.

    Source: Noreen (1989), approximate randomization; Dror et al. (2018), "The Hitchhiker's Guide to Testing
    Statistical Significance in NLP", section 3.2.
    """
    differences = _differences(scores, baseline_scores)
    if num_samples < 1:
        raise UsageError(f"num_samples is {num_samples}; the test needs at least 1, better 10,000.")
    random, size = np.random.default_rng(seed), len(differences)
    parts = [min(_ROWS_AT_ONCE, num_samples - done) for done in range(0, num_samples, _ROWS_AT_ONCE)]
    sums = np.concatenate([random.choice([-1.0, 1.0], size=(rows, size)) @ differences for rows in parts])
    # A sum that differs from the observed one by rounding alone is as extreme as it.
    observed = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    return float((1 + np.sum(np.abs(sums) >= observed)) / (1 + num_samples))


def mcnemar_test(correct: Sequence, baseline_correct: Sequence) -> float:
    """How often chance alone splits the texts that one of two systems gets right so unevenly: a p-value.

    Texts that both get right, or both wrong, say nothing about which one is better. If the systems were
    equally good, each of the others would be a coin toss; the two-sided p-value is that of the binomial
    distribution, exact for any number of texts. If there are no others, it is 1.

    Args:
        correct, baseline_correct: one verdict for each text, in the same order, (num_texts,): 1 if that
            system's prediction is right, otherwise 0.

    Raises:
        UsageError: a verdict other than 0 or 1, or not one of each system for every text.

    Source: McNemar (1947), "Note on the Sampling Error of the Difference Between Correlated Proportions or
    Percentages"; Dietterich (1998), "Approximate Statistical Tests for Comparing Supervised Classification
    Learning Algorithms", section 3.1.
    """
    correct, baseline_correct = (check_labels(rows, 2, "verdict") for rows in (correct, baseline_correct))
    if len(correct) != len(baseline_correct):
        raise UsageError(
            f"There are {len(correct)} verdicts on one system but {len(baseline_correct)} on the other."
        )
    num_won = int((correct > baseline_correct).sum())
    num_lost = int((correct < baseline_correct).sum())
    return float(binomtest(num_won, num_won + num_lost).pvalue) if num_won + num_lost else 1.0


def _differences(scores: np.ndarray, baseline_scores: np.ndarray) -> np.ndarray:
    scores, baseline_scores = np.asarray(scores, dtype=float), np.asarray(baseline_scores, dtype=float)
    if scores.ndim != 1 or scores.shape != baseline_scores.shape or scores.size == 0:
        raise UsageError(
            f"The shapes are {scores.shape} and {baseline_scores.shape}; "
            "a paired comparison takes one score of each system for every document."
        )
    differences = scores - baseline_scores
    if not np.isfinite(differences).all():
        raise UsageError("Some scores are not finite: leave out those documents in both systems.")
    return differences
