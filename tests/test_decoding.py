"""NumPy decoding against the Keras layer and against enumeration of all tag sequences."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from course_lib.decoding import (
    Segment,
    constrain,
    forward_backward,
    marginals,
    segment_probabilities,
    share_evidence,
    viterbi,
)
from course_lib.layers.crf import CRF
from course_lib.text.tagging import allowed_transitions

TAGS = ["O", "B-X", "I-X"]
ALLOWED = allowed_transitions(TAGS, "BIO")


def case(seed, lengths, scale=2.0):
    random = np.random.default_rng(seed)
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    return random.normal(0, scale, (*mask.shape, 3)), mask, random.normal(0, scale, (4, 4))


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=4).filter(any),
    allowed=st.sampled_from([None, ALLOWED]),
)
def test_equals_the_layer(seed, lengths, allowed):
    logits, mask, transitions = case(seed, lengths)
    crf = CRF(allowed, dtype="float64")
    crf.build((None, None, 3))
    crf.set_weights([transitions])
    if allowed is not None:
        transitions = constrain(transitions, allowed)
    np.testing.assert_allclose(transitions, ops.convert_to_numpy(crf.scores()))
    for one, two in zip(viterbi(logits, transitions, mask), crf.viterbi(logits, mask), strict=True):
        np.testing.assert_allclose(one, ops.convert_to_numpy(two), atol=1e-9)
    np.testing.assert_allclose(
        marginals(logits, transitions, mask), ops.convert_to_numpy(crf.marginals(logits, mask)), atol=1e-9
    )
    log_z = forward_backward(logits, transitions, mask)[2]
    np.testing.assert_allclose(log_z, ops.convert_to_numpy(crf.log_partition(logits, mask)), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 5), data=st.data())
def test_a_segment_s_probability_is_that_of_all_sequences_that_hold_it(seed, length, data):
    logits, _, transitions = case(seed, [length])
    start = data.draw(st.integers(0, length - 1))
    tags = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=length - start))
    not_before = data.draw(st.sampled_from([(), (2,), (0, 2)]))
    with_it = total = 0.0
    for path in itertools.product(range(3), repeat=length):
        weight = transitions[-1, path[0]] + transitions[path[-1], -1]
        weight += sum(transitions[pair] for pair in itertools.pairwise(path))
        weight = np.exp(weight + sum(logits[0, step, tag] for step, tag in enumerate(path)))
        total += weight
        end = start + len(tags)
        if list(path[start:end]) == tags and (end == length or path[end] not in not_before):
            with_it += weight
    probability = segment_probabilities(logits[0], transitions, [Segment(start, tags, not_before)])
    assert probability == pytest.approx([with_it / total], abs=1e-9)


def test_without_transitions_tags_and_marginals_are_those_of_the_softmax():
    logits, mask, _ = case(0, [4, 2])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(marginals(logits, np.zeros((4, 4)), mask)[mask], softmax[mask])
    np.testing.assert_array_equal(viterbi(logits, np.zeros((4, 4)), mask)[0][mask], logits.argmax(-1)[mask])


def test_ties_end_in_one_consistent_path():
    """Two best paths, 0-1 and 1-0: the best tag of each token alone could mix them to 0-0."""
    transitions = np.zeros((3, 3))
    transitions[0, 0] = transitions[1, 1] = -5
    tags, score = viterbi(np.zeros((1, 2, 2)), transitions)
    assert tags[0].tolist() in ([0, 1], [1, 0]) and score[0] == 0


def test_shared_evidence_by_hand():
    """Two sentences, no transitions: the marginals are softmaxes; "Leeds" occurs in both, "won" once."""
    types = ["", "LOC", "ORG"]
    first, second = np.log([[0.2, 0.3, 0.5], [0.9, 0.05, 0.05]]), np.log([[0.1, 0.8, 0.1]])
    shared = share_evidence([first, second], np.zeros((4, 4)), [["Leeds", "won"], ["LEEDS"]], types)
    np.testing.assert_allclose(shared[0][0], np.log([0.2 * 0.15, 0.3 * 0.85, 0.5 * 0.15]))
    np.testing.assert_allclose(shared[0][1], first[1])
    np.testing.assert_allclose(shared[1][0], np.log([0.1 * 0.25, 0.8 * 0.35, 0.1 * 0.55]))


def test_shared_evidence_counts_types_not_tags_and_averages_the_others():
    """B-X and I-X are one type: the mean of the two other places is taken, the place's own is not."""
    random = np.random.default_rng(3)
    logits = [random.normal(size=(2, 3)) for _ in range(3)]
    transitions = random.normal(size=(4, 4))
    shared = share_evidence(logits, transitions, [["a", "b"], ["c", "a"], ["a", "d"]], ["", "X", "X"])
    probabilities = [brute_force_marginals(rows, transitions) for rows in logits]
    inside = [probabilities[0][0, 1:].sum(), probabilities[1][1, 1:].sum()]
    expected = logits[2][0] + np.log(0.05 + np.array([1 - np.mean(inside), *[np.mean(inside)] * 2]))
    np.testing.assert_allclose(shared[2][0], expected)
    for sentence, token in ((0, 1), (1, 0), (2, 1)):
        np.testing.assert_array_equal(shared[sentence][token], logits[sentence][token])


def brute_force_marginals(logits, transitions):
    result = np.zeros_like(logits)
    for path in itertools.product(range(3), repeat=len(logits)):
        score = sum(logits[step, tag] for step, tag in enumerate(path))
        score += sum(transitions[pair] for pair in itertools.pairwise([-1, *path, -1]))
        for step, tag in enumerate(path):
            result[step, tag] += np.exp(score)
    return result / result[0].sum()


def test_a_document_without_repeated_words_is_left_alone():
    logits = [np.ones((2, 3)), np.ones((1, 3))]
    shared = share_evidence(logits, np.zeros((4, 4)), [["a", "b"], ["c"]], ["", "X", "X"])
    assert all(one is two for one, two in zip(shared, logits, strict=True))
    assert share_evidence([], np.zeros((4, 4)), [], ["", "X", "X"]) == []
