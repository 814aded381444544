"""Augmentation: what is kept, where labels and spans go, how often words change, and what is refused."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.errors import UsageError
from course_lib.text.augmentation import (
    NUM_NEIGHBOURS,
    delete_words,
    draw_mixture,
    mixup,
    replace_synonyms,
    swap_words,
)
from course_lib.text.tagging import EntitySpan, entity_spans, spans_to_tags

NEIGHBOURS = {f"w{i}": [f"v{i}", f"u{i}"] for i in range(0, 30, 2)}  # words with odd numbers have none


def synonyms(tokens, rate, random, **more):
    return replace_synonyms(tokens, NEIGHBOURS, rate, random, **more)


AUGMENTATIONS = {"swap": swap_words, "delete": delete_words, "synonyms": synonyms}
each = pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS)


@st.composite
def tagged_texts(draw):
    """Distinct words w0, w1 …, and spans that do not overlap, in any order."""
    num_tokens = draw(st.integers(2, 20))
    cuts = sorted(draw(st.sets(st.integers(0, num_tokens), max_size=6)))
    pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
    spans = [EntitySpan(draw(st.sampled_from(["PER", "LOC"])), start, end) for start, end in pairs]
    return [f"w{i}" for i in range(num_tokens)], draw(st.permutations(spans))


rates = st.floats(0, 1)
seeds = st.integers(0, 2**32 - 1)


def number(word):
    return int(word[1:])


@each
@settings(deadline=None)
@given(text=tagged_texts(), rate=rates, seed=seeds)
def test_labels_stay_with_their_words_and_spans_with_theirs(augment, text, rate, seed):
    tokens, spans = text
    before = list(tokens), list(spans)
    labels = list(range(len(tokens)))
    found = augment(tokens, rate, np.random.default_rng(seed), labels=labels, spans=spans)
    assert (tokens, spans) == before, "the given text was changed"
    assert [number(word) for word in found.tokens] == found.labels
    # By content: what a span names is what it named before, and no span is lost.
    names = sorted((span.type, *found.tokens[span.start : span.end]) for span in found.spans)
    assert names == sorted((span.type, *tokens[span.start : span.end]) for span in spans)
    assert found.spans == sorted(found.spans, key=lambda span: span.start)


@each
@settings(deadline=None)
@given(text=tagged_texts(), rate=rates, seed=seeds)
def test_tags_and_spans_still_spell_the_same_entities(augment, text, rate, seed):
    tokens, spans = text
    tags = spans_to_tags(spans, len(tokens), "BIOES")
    found = augment(tokens, rate, np.random.default_rng(seed), labels=tags, spans=spans)
    assert entity_spans(found.labels) == found.spans


@settings(deadline=None)
@given(text=tagged_texts(), rate=rates, seed=seeds)
def test_swapping_keeps_every_word_and_the_places_of_spans(text, rate, seed):
    tokens, spans = text
    found = swap_words(tokens, rate, np.random.default_rng(seed), spans=spans)
    assert Counter(found.tokens) == Counter(tokens) and found.labels is None
    assert found.spans == sorted(spans, key=lambda span: span.start)
    num_free = len(tokens) - sum(span.end - span.start for span in spans)
    num_moved = sum(a != b for a, b in zip(tokens, found.tokens, strict=True))
    assert num_moved <= min(2 * round(rate * num_free), num_free)


def test_one_swap_moves_two_words_and_reaches_every_pair():
    tokens = ["w0", "w1", "w2", "w3"]
    counts = Counter()
    for seed in range(3_000):
        found = swap_words(tokens, 0.25, np.random.default_rng(seed)).tokens
        counts[tuple(i for i in range(4) if found[i] != tokens[i])] += 1
    assert set(counts) == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    assert max(abs(count - 500) for count in counts.values()) < 5 * (3_000 * 1 / 6 * 5 / 6) ** 0.5


@settings(deadline=None)
@given(text=tagged_texts(), rate=rates, seed=seeds)
def test_deleting_keeps_the_order_and_never_empties(text, rate, seed):
    tokens, _ = text
    numbers = [number(word) for word in delete_words(tokens, rate, np.random.default_rng(seed)).tokens]
    assert 1 <= len(numbers) <= len(tokens)
    assert numbers == sorted(set(numbers))


def test_deleting_everything_keeps_one_word_or_the_spans():
    tokens = ["w0", "w1", "w2", "w3"]
    kept = {tuple(delete_words(tokens, 1, np.random.default_rng(seed)).tokens) for seed in range(60)}
    assert kept == {("w0",), ("w1",), ("w2",), ("w3",)}
    found = delete_words(tokens, 1, np.random.default_rng(0), labels="abcd", spans=[EntitySpan("X", 1, 3)])
    assert found == (["w1", "w2"], ["b", "c"], [EntitySpan("X", 0, 2)])


@settings(deadline=None)
@given(text=tagged_texts(), rate=rates, seed=seeds)
def test_synonyms_keep_length_and_places(text, rate, seed):
    tokens, spans = text
    found = synonyms(tokens, rate, np.random.default_rng(seed), spans=spans)
    inside = {place for span in spans for place in range(span.start, span.end)}
    assert len(found.tokens) == len(tokens)
    for place, (old, new) in enumerate(zip(tokens, found.tokens, strict=True)):
        assert new == old or (place not in inside and new in NEIGHBOURS[old])
    assert found.spans == sorted(spans, key=lambda span: span.start)


def test_every_synonym_and_only_words_with_one():
    tokens = ["w0", "w1", "w2"]
    found = {tuple(synonyms(tokens, 1, np.random.default_rng(seed)).tokens) for seed in range(60)}
    assert found == {(a, "w1", b) for a in ("v0", "u0") for b in ("v2", "u2")}


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rates_are_probabilities_of_a_word(rate):
    tokens = ["w0"] * 10_000
    spread = 5 * (10_000 * rate * (1 - rate)) ** 0.5
    num_kept = len(delete_words(tokens, rate, np.random.default_rng(3)).tokens)
    assert abs(10_000 - num_kept - 10_000 * rate) < spread
    words = synonyms(tokens, rate, np.random.default_rng(3)).tokens
    assert abs(10_000 - words.count("w0") - 10_000 * rate) < spread
    assert abs(words.count("v0") - words.count("u0")) < spread


@each
@settings(deadline=None)
@given(text=tagged_texts(), seed=seeds)
def test_rate_zero_changes_nothing_and_a_seed_decides_everything(augment, text, seed):
    tokens, spans = text
    same = augment(tokens, 0, np.random.default_rng(seed), labels=tokens, spans=spans)
    assert same.tokens == same.labels == tokens
    random, again = np.random.default_rng(seed), np.random.default_rng(seed)
    assert augment(tokens, 0.5, random, spans=spans) == augment(tokens, 0.5, again, spans=spans)
    assert random.random() == again.random()


def test_neighbours_from_word_vectors():
    from course_lib.embeddings import as_keyed_vectors

    # On a half circle: the nearest words of w0 are those with the next numbers.
    angles = np.linspace(0, np.pi, 12)
    vectors = as_keyed_vectors(
        [f"w{i}" for i in range(12)], np.stack([np.cos(angles), np.sin(angles)], axis=1)
    )
    random = np.random.default_rng(0)
    found = [replace_synonyms(["w0", "unknown"], vectors, 1, random).tokens for _ in range(200)]
    assert {words[0] for words in found} == {f"w{i}" for i in range(1, NUM_NEIGHBOURS + 1)}
    assert {words[1] for words in found} == {"unknown"}


@each
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"tokens": []}, "at least two tokens, not 0"),
        ({"tokens": ["alone"]}, "at least two tokens, not 1"),
        ({"tokens": "a text"}, "at least two tokens, not a string"),
        ({"rate": -0.1}, "The rate is -0.1"),
        ({"rate": 1.5}, "The rate is 1.5"),
        ({"rate": float("nan")}, "The rate is nan"),
        ({"labels": ["O"]}, "2 tokens but 1 labels"),
        ({"spans": [EntitySpan("PER", 1, 3)]}, "from 1 to 3"),
        ({"spans": [EntitySpan("PER", 1, 1)]}, "from 1 to 1"),
        ({"spans": [EntitySpan("PER", -1, 1)]}, "from -1 to 1"),
        ({"spans": [EntitySpan("PER", 0, 2), EntitySpan("LOC", 1, 2)]}, "from 1 to 2"),
    ],
)
def test_wrong_input_is_one_clear_sentence(augment, arguments, message):
    given = {"tokens": ["two", "words"], "rate": 0.5, **arguments}
    with pytest.raises(UsageError, match=message) as caught:
        augment(random=np.random.default_rng(0), **given)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(seed=seeds, num_examples=st.integers(2, 8), alpha=st.floats(0.05, 5))
def test_mixup_against_a_loop(seed, num_examples, alpha):
    random = np.random.default_rng(seed)
    values = random.normal(size=(num_examples, 3, 2))
    targets = np.eye(2)[random.integers(0, 2, num_examples)]
    partners, weights = draw_mixture(num_examples, alpha, random)
    assert sorted(partners) == list(range(num_examples))
    mixed, mixed_targets = mixup(values, partners, weights), mixup(targets, partners, weights)
    for i in range(num_examples):
        w = float(weights[i])
        for step in range(3):
            expected = [w * values[i, step, d] + (1 - w) * values[partners[i], step, d] for d in range(2)]
            np.testing.assert_allclose(mixed[i, step], expected, atol=1e-6)
    np.testing.assert_allclose(mixed_targets.sum(axis=1), 1, atol=1e-6)
    assert mixed.shape == values.shape


def test_alpha_shapes_the_weights():
    # The variance of Beta(a, a) is 1 / (4 (2a + 1)).
    for alpha in (0.2, 1.0, 4.0):
        weights = draw_mixture(20_000, alpha, np.random.default_rng(0))[1]
        assert abs(weights.mean() - 0.5) < 0.015
        assert abs(weights.var() - 1 / (4 * (2 * alpha + 1))) < 0.005


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: draw_mixture(1, 0.4, np.random.default_rng(0)), "at least two examples, not 1"),
        (lambda: draw_mixture(4, 0, np.random.default_rng(0)), "alpha is 0"),
        (lambda: draw_mixture(4, math.inf, np.random.default_rng(0)), "alpha is inf"),
        (lambda: mixup(np.ones((3, 2)), np.arange(2), np.ones(2)), "3 rows, 2 partners and 2 weights"),
        (lambda: mixup(np.ones((2, 2)), np.arange(2), np.array([0.5, 1.1])), "between 0 and 1"),
    ],
)
def test_wrong_mixtures_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_neighbours_that_are_a_string_are_refused():
    with pytest.raises(UsageError, match="The neighbours of 'film' are the string 'movie': give a list"):
        replace_synonyms(["film", "film"], {"film": "movie"}, 1.0, np.random.default_rng(0))
