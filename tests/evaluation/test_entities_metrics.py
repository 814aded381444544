"""Entity-level figures by hand and against seqeval, whose default mode follows conlleval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support
from seqeval.scheme import IOB2

from course_lib.errors import UsageError
from course_lib.evaluation.entities import (
    entity_counts,
    entity_report,
    f1_of_counts,
    precision_recall_f1,
    seen_and_unseen_counts,
)

GOLD = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"], ["O"]]
PREDICTED = [["B-PER", "I-PER", "O", "B-ORG"], ["B-LOC", "I-LOC"], ["B-PER"]]


def test_report_by_hand():
    """Right: the PER. Wrong: an ORG for a LOC, a LOC too long, a PER too many. Missed: both LOC."""
    report = entity_report(GOLD, PREDICTED)
    assert report["all"] == pytest.approx({"precision": 1 / 4, "recall": 1 / 3, "f1": 2 / 7, "entities": 3})
    assert report["PER"] == pytest.approx({"precision": 1 / 2, "recall": 1, "f1": 2 / 3, "entities": 1})
    assert report["LOC"] == {"precision": 0, "recall": 0, "f1": 0, "entities": 2}
    assert report["ORG"]["entities"] == 0


def test_counts_by_hand():
    counts = entity_counts(GOLD, PREDICTED)
    assert counts.tolist() == [[1, 1, 1], [0, 1, 1], [0, 1, 0]]
    np.testing.assert_allclose(precision_recall_f1(counts.sum(axis=0)), [1 / 4, 1 / 3, 2 / 7])


def test_a_stray_i_begins_an_entity_as_in_conlleval_and_not_as_in_the_strict_mode():
    gold, predicted = [["B-PER", "I-PER", "O"]], [["I-PER", "I-PER", "O"]]
    assert entity_report(gold, predicted)["all"]["f1"] == 1
    strict = precision_recall_fscore_support(gold, predicted, average="micro")[2]
    assert strict == 1  # seqeval's default
    from seqeval.metrics.v1 import precision_recall_fscore_support as strict_mode

    assert strict_mode(gold, predicted, average="micro", scheme=IOB2, zero_division=0)[2] == 0


tags = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y", "E-X", "S-Y"])
pairs = st.lists(st.lists(st.tuples(tags, tags), min_size=1, max_size=6), min_size=1, max_size=5)


@given(sentences=pairs)
def test_counts_and_report_agree_with_seqeval(sentences):
    gold = [[pair[0] for pair in sentence] for sentence in sentences]
    predicted = [[pair[1] for pair in sentence] for sentence in sentences]
    figures = precision_recall_f1(entity_counts(gold, predicted).sum(axis=0))
    report = entity_report(gold, predicted)
    assert [report["all"][name] for name in ("precision", "recall", "f1")] == pytest.approx(figures.tolist())
    for kind in set(report) - {"all"}:
        only = [[[tag if tag[2:] == kind else "O" for tag in s] for s in side] for side in (gold, predicted)]
        expected = precision_recall_fscore_support(*only, average="micro", zero_division=0)
        assert report[kind]["f1"] == pytest.approx(expected[2])


def test_seen_and_unseen_by_hand():
    training = [["Rome", "and", "New", "York"]], [["B-LOC", "O", "B-LOC", "I-LOC"]]
    sentences = [["New", "York", "beats", "York", "."], ["Rome", "Paris"]]
    gold = [["B-LOC", "I-LOC", "O", "B-LOC", "O"], ["B-ORG", "B-LOC"]]
    predicted = [["B-LOC", "I-LOC", "O", "B-ORG", "O"], ["B-LOC", "B-LOC"]]
    counts = seen_and_unseen_counts(gold, predicted, sentences, *training)
    # Seen: New York, right; Rome as a LOC, too many.
    # Unseen: York missed and wrong; Rome as ORG missed; Paris right.
    assert counts["seen"].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert counts["unseen"].tolist() == [[0, 1, 1], [1, 0, 1]]
    np.testing.assert_array_equal(counts["seen"] + counts["unseen"], entity_counts(gold, predicted))


def test_no_entities_give_zeros_and_no_warning(recwarn):
    assert entity_report([["O"]], [["O"]])["all"]["f1"] == 0
    assert f1_of_counts(np.zeros((2, 3))).tolist() == [0, 0]
    assert entity_counts([["O"]], [["O"]]).tolist() == [[0, 0, 0]]
    assert len(recwarn) == 0


@pytest.mark.parametrize("predicted", [[["O"]], [["O", "O", "O"], ["O"]]])
def test_one_tag_for_each_token_is_demanded(predicted):
    with pytest.raises(UsageError, match="one for each token"):
        entity_counts([["O", "O"], ["O"]], predicted)
