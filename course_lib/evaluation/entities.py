"""Entity-level precision, recall and F1: an entity counts if its type and both ends are right (conlleval)."""

from collections.abc import Sequence

import numpy as np

from course_lib.errors import UsageError
from course_lib.text.tagging import EntitySpan, entity_spans

Tags = Sequence[Sequence[str]]


def entity_report(gold: Tags, predicted: Tags) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and number of gold entities of each type, and of all together under `all`.

    Args:
        gold, predicted: the tags of each sentence, in BIO or BIOES.

    Returns:
        Type → {"precision", "recall", "f1", "entities"}, computed by seqeval in its default mode, whose rules
        are conlleval's; a figure whose denominator is 0 is 0.

    Raises:
        UsageError: not one predicted tag for each gold tag.
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    _check_shapes(gold, predicted)
    gold, predicted = [list(tags) for tags in gold], [list(tags) for tags in predicted]
    kinds = sorted({span.type for tags in [*gold, *predicted] for span in entity_spans(tags)})
    if not kinds:
        return {"all": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "entities": 0}}
    by_kind = np.transpose(precision_recall_fscore_support(gold, predicted, zero_division=0))
    overall = precision_recall_fscore_support(gold, predicted, average="micro", zero_division=0)
    return {
        kind: {"precision": float(p), "recall": float(r), "f1": float(f1), "entities": int(count)}
        for kind, (p, r, f1, count) in zip([*kinds, "all"], [*by_kind, overall], strict=True)
    }


def entity_counts(gold: Tags, predicted: Tags) -> np.ndarray:
    """True positives, false positives and false negatives of each sentence: int (num_sentences, 3).

    Their sums give the same F1 as `entity_report`; with `bootstrap_interval` they give its interval.

    Raises:
        UsageError: not one predicted tag for each gold tag.
    """
    _check_shapes(gold, predicted)
    return np.array([_counts(*spans) for spans in _span_pairs(gold, predicted)]).reshape(-1, 3)


def seen_and_unseen_counts(
    gold: Tags,
    predicted: Tags,
    sentences: Sequence[Sequence[str]],
    training_sentences: Sequence[Sequence[str]],
    training_tags: Tags,
) -> dict[str, np.ndarray]:
    """`entity_counts` of entities apart that stand in the training data and that do not.

    Under `seen` are those whose words the training data holds as an entity of that type, under `unseen` all
    others; each true or predicted entity counts in one of the two.

    Args:
        gold, predicted: the tags of each test sentence.
        sentences: its tokens.
        training_sentences, training_tags: tokens and tags of the training data.

    Raises:
        UsageError: not one tag for each token.
    """
    _check_shapes(gold, predicted)
    _check_shapes(gold, sentences)
    _check_shapes(training_tags, training_sentences)
    known = {
        _name(tokens, span)
        for tokens, tags in zip(training_sentences, training_tags, strict=True)
        for span in entity_spans(tags)
    }
    rows: dict[str, list[tuple[int, int, int]]] = {"seen": [], "unseen": []}
    for tokens, spans in zip(sentences, _span_pairs(gold, predicted), strict=True):
        for kind, is_seen in (("seen", True), ("unseen", False)):
            rows[kind].append(
                _counts(
                    *(
                        {span for span in group if (_name(tokens, span) in known) == is_seen}
                        for group in spans
                    )
                )
            )
    return {kind: np.array(values).reshape(-1, 3) for kind, values in rows.items()}


def precision_recall_f1(counts: np.ndarray) -> np.ndarray:
    """From sums of true and false positives and false negatives (..., 3) to the three figures (..., 3).

    A figure whose denominator is 0 is 0.
    """
    correct, too_many, missed = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    numerators = np.stack([correct, correct, 2 * correct], axis=-1)
    denominators = np.stack([correct + too_many, correct + missed, 2 * correct + too_many + missed], axis=-1)
    return np.divide(numerators, denominators, out=np.zeros_like(numerators), where=denominators > 0)


def f1_of_counts(counts: np.ndarray) -> np.ndarray:
    """The F1 alone, (..., 3) to (...): a statistic for `bootstrap_interval`."""
    return precision_recall_f1(counts)[..., 2]


def _span_pairs(gold: Tags, predicted: Tags):
    for gold_tags, predicted_tags in zip(gold, predicted, strict=True):
        yield set(entity_spans(gold_tags)), set(entity_spans(predicted_tags))


def _counts(gold: set[EntitySpan], predicted: set[EntitySpan]) -> tuple[int, int, int]:
    return len(gold & predicted), len(predicted - gold), len(gold - predicted)


def _name(tokens: Sequence[str], span: EntitySpan) -> tuple[str, ...]:
    return (span.type, *tokens[span.start : span.end])


def _check_shapes(gold: Sequence[Sequence], other: Sequence[Sequence]) -> None:
    if list(map(len, gold)) != list(map(len, other)):
        raise UsageError("Tags and tokens differ: there must be one for each token of each sentence.")
