"""Graph ranks against eigenvectors, similarities and features by hand, selection, and whole texts."""

import functools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import summarization
from course_lib.errors import UsageError
from course_lib.summarization import (
    FEATURE_NAMES,
    lead_scores,
    lexrank_scores,
    network_inputs,
    network_scores,
    pad_documents,
    pagerank,
    select_sentences,
    sentence_features,
    sentence_words,
    summarize,
    textrank_scores,
    word_rarity,
)
from course_lib.text import TextEncoder, Vocabulary, tokenize

ARTICLE = [
    "A fire broke out in a factory in Leeds on Monday.",
    "The factory in Leeds makes paint.",
    "Nobody was hurt.",
    '"We saw smoke (black smoke) over Leeds," said Ann Lee, 42.',
    "Will the factory open again",
]
# "the" ranks first, "leeds" 99th, so both common and rare words have a known weight.
VOCABULARY = Vocabulary(["the", "in", "a", *(f"w{n}" for n in range(95)), "leeds", "factory"])
ENCODER = TextEncoder(VOCABULARY, max_length=12, truncation="head")


def features_of(sentences):
    return dict(zip(FEATURE_NAMES, sentence_features(sentences, VOCABULARY).T, strict=True))


# Ranks


def stationary_distribution(similarities, damping=0.85):
    """The eigenvector of the transition matrix with eigenvalue 1, by NumPy's dense solver."""
    weights = np.array(similarities, dtype=float)
    np.fill_diagonal(weights, 0)
    size = len(weights)
    steps = np.array([row / row.sum() if row.sum() else np.full(size, 1 / size) for row in weights])
    values, vectors = np.linalg.eig((damping * steps + (1 - damping) / size).T)
    vector = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    return vector / vector.sum() * size


@pytest.mark.parametrize("size", [1, 2, 7, 40])
@pytest.mark.parametrize("density", [0.1, 0.9])
def test_pagerank_is_the_leading_eigenvector(size, density):
    random = np.random.default_rng(size)
    similarities = random.random((size, size)) * (random.random((size, size)) < density)
    ranks = pagerank(similarities)
    np.testing.assert_allclose(ranks, stationary_distribution(similarities), atol=1e-7)
    assert ranks.mean() == pytest.approx(1)


def test_pagerank_of_a_star_by_hand():
    # Centre c, leaves l: c = 0.15 + 0.85 · 2 l and l = 0.15 + 0.85 c / 2, so c = 0.405 / 0.2775.
    star = np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]])
    centre = 0.405 / 0.2775
    np.testing.assert_allclose(pagerank(star), [centre, (3 - centre) / 2, (3 - centre) / 2])
    np.testing.assert_allclose(pagerank(star + 9 * np.eye(3)), pagerank(star))
    assert pagerank(np.zeros((0, 0))).shape == (0,)


def test_textrank_equals_its_formula_worked_out_pair_by_pair():
    words = [sentence_words(sentence) for sentence in ARTICLE]
    similarities = np.zeros((5, 5))
    for i in range(5):
        for j in range(5):
            shared = len(set(words[i]) & set(words[j]))
            similarities[i, j] = shared / (np.log(len(words[i])) + np.log(len(words[j])))
    # "factory" and "leeds" and "in": 3 shared words of 11 and 6.
    assert similarities[0, 1] == pytest.approx(3 / np.log(66))
    scores = textrank_scores(ARTICLE)
    np.testing.assert_allclose(scores, stationary_distribution(similarities), atol=1e-7)
    assert scores.argmin() == 2


def test_lexrank_equals_cosines_worked_out_pair_by_pair():
    words = [sentence_words(sentence) for sentence in ARTICLE]
    different = sorted({word for sentence in words for word in sentence})
    vectors = np.array(
        [
            [sentence.count(word) * word_rarity([word], VOCABULARY)[0] for word in different]
            for sentence in words
        ]
    )
    similarities = [[a @ b / np.sqrt(a @ a) / np.sqrt(b @ b) for b in vectors] for a in vectors]
    np.testing.assert_allclose(
        lexrank_scores(ARTICLE, VOCABULARY), stationary_distribution(similarities), atol=1e-7
    )


def test_rarity_grows_with_the_rank():
    rarity = word_rarity(["the", "a", "w16", "leeds", "factory", "unheard"], VOCABULARY)
    assert len(VOCABULARY) == 102
    np.testing.assert_allclose(
        rarity, [0, 0, 0, np.log(99 / 20), np.log(100 / 20), np.log(102 / 20)], atol=1e-12
    )


def test_scores_of_odd_documents():
    for score in (textrank_scores, functools.partial(lexrank_scores, vocabulary=VOCABULARY)):
        assert score([]).shape == (0,)
        np.testing.assert_allclose(score(["One."]), [1])
        np.testing.assert_allclose(score(["One.", "Two.", "Three."]), [1, 1, 1])
        np.testing.assert_allclose(score(["<br>", "他", "Same words here.", "Same words here."]).sum(), 4)
    assert sentence_features([], VOCABULARY).shape == (0, len(FEATURE_NAMES))
    for sentences in (["One."], ["<br>"], ["<br>", "<p>"], ["他来了", "A"]):
        assert np.isfinite(sentence_features(sentences, VOCABULARY)).all()


def test_long_texts_are_ranked_in_parts(monkeypatch):
    monkeypatch.setattr(summarization, "WINDOW", 3)
    scores = textrank_scores(ARTICLE)
    np.testing.assert_allclose(scores[:3], textrank_scores(ARTICLE[:3]))
    np.testing.assert_allclose(scores[3:], textrank_scores(ARTICLE[3:]))
    assert sentence_features(ARTICLE, VOCABULARY)[:, FEATURE_NAMES.index("is first")].sum() == 1


# Features


def test_position_length_and_surface_by_hand():
    features = features_of(ARTICLE)
    np.testing.assert_allclose(features["closeness to the start"], [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5], rtol=1e-6)
    np.testing.assert_array_equal(features["is first"], [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(features["is last"], [0, 0, 0, 0, 1])
    np.testing.assert_allclose(features["relative position"], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(features["length up to 25 words"] * 25, [11, 6, 3, 11, 5], rtol=1e-6)
    np.testing.assert_array_equal(features["length beyond 25 words"], 0)
    np.testing.assert_allclose(features["length relative to the mean"] * 7.2, [11, 6, 3, 11, 5], rtol=1e-6)
    for name, expected in {
        "has a number": [0, 0, 0, 1, 0],
        "begins with a quote": [0, 0, 0, 1, 0],
        "says who said": [0, 0, 0, 1, 0],
        "has brackets": [0, 0, 0, 1, 0],
        "ends without a full stop": [0, 0, 0, 0, 1],
        "speaks in the first person": [0, 0, 0, 1, 0],
        "is a question": [0, 0, 0, 0, 0],
        "begins with a pronoun": [0, 0, 0, 1, 0],
    }.items():
        np.testing.assert_array_equal(features[name], expected, err_msg=name)
    np.testing.assert_allclose(features["capitalized words"] * 5, [2, 1, 0, 3, 0], rtol=1e-6)


def test_words_that_return_by_hand():
    features = features_of(["leeds factory the", "leeds", "news"])
    leeds, factory, news = word_rarity(["leeds", "factory", "news"], VOCABULARY)
    np.testing.assert_allclose(
        features["rarity of its words, sum"] * 50, [leeds + factory, leeds, news], rtol=1e-6
    )
    np.testing.assert_allclose(
        features["words said again, sum"] * 25, [leeds * np.log(2), leeds * np.log(2), 0], rtol=1e-6
    )
    np.testing.assert_allclose(features["share of new words"], [1, 0, 1])
    np.testing.assert_allclose(features["new words taken up later"] * 20, [leeds, 0, 0], rtol=1e-6)
    cosine = leeds / np.hypot(leeds, factory)
    np.testing.assert_allclose(features["similarity to the first"], [1, cosine, 0], rtol=1e-6)
    np.testing.assert_allclose(features["similarity to the previous"], [0, cosine, 0], rtol=1e-6)
    np.testing.assert_allclose(features["similarity to the next"], [cosine, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(features["mean similarity"], [cosine / 3, cosine / 3, 0], rtol=1e-6)
    # "leeds" stands there twice, the other words once: 4/3, 2 and 1, with the mean 13/9.
    np.testing.assert_allclose(
        features["frequency of its words relative to the mean"] * 13 / 9, [4 / 3, 2, 1], rtol=1e-6
    )


def test_features_hold_the_ranks():
    features = features_of(ARTICLE)
    textrank = textrank_scores(ARTICLE)
    np.testing.assert_allclose(features["log TextRank"], np.log(textrank), rtol=1e-5)
    np.testing.assert_allclose(
        features["log LexRank"], np.log(lexrank_scores(ARTICLE, VOCABULARY)), rtol=1e-5
    )
    np.testing.assert_array_equal(features["highest TextRank"], textrank == textrank.max())


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), max_size=8))
def test_features_are_finite_and_no_row_looks_like_padding(sentences):
    features = sentence_features(sentences, VOCABULARY)
    assert features.shape == (len(sentences), len(FEATURE_NAMES)) and features.dtype == np.float32
    assert np.isfinite(features).all() and (features != 0).any(axis=1).all()
    assert np.abs(features).max(initial=0) < 10


# Selection


def test_selection_by_hand():
    sentences = ["one two three", "one two three four", "five six", "seven"]
    scores = np.array([0.9, 0.8, 0.1, 0.5])
    assert select_sentences(scores, sentences, num_sentences=1) == [0]
    # The second shares 3 of 4 words with the first.
    assert select_sentences(scores, sentences, num_sentences=2) == [0, 3]
    assert select_sentences(scores, sentences, num_sentences=2, max_similarity=0.75) == [0, 1]
    assert select_sentences(scores, sentences, num_sentences=9) == [0, 2, 3]
    # 3 words, then 1; the two words of the third no longer fit.
    assert select_sentences(scores, sentences, num_words=5) == [0, 3]
    assert select_sentences(scores, sentences, num_words=6) == [0, 2, 3]
    assert select_sentences(scores, sentences, num_words=2) == [3]
    assert select_sentences(scores[:2], sentences[:2], num_words=2) == [0], "better too long than nothing"
    assert select_sentences(np.zeros(4), sentences, num_sentences=1) == [0], "of equal ones the first"
    assert select_sentences([], [], num_sentences=1) == []


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6), st.floats(-5, 5)), max_size=9
    ),
    st.integers(1, 5),
    st.integers(1, 12),
    st.floats(0, 1),
)
def test_selection_keeps_order_budget_and_distance(rows, num_sentences, num_words, max_similarity):
    sentences, scores = [" ".join(words) for words, _ in rows], [score for _, score in rows]
    chosen = select_sentences(
        scores, sentences, num_sentences=num_sentences, num_words=num_words, max_similarity=max_similarity
    )
    assert chosen == sorted(set(chosen)) and bool(chosen) == bool(rows) and len(chosen) <= num_sentences
    if len(chosen) > 1:
        assert sum(len(sentences[i].split()) for i in chosen) <= num_words
    sets = [set(sentences[i].split()) for i in chosen]
    for i, first in enumerate(sets):
        for second in sets[:i]:
            assert len(first & second) / len(first | second) <= max_similarity
    fitting = [i for i, sentence in enumerate(sentences) if len(sentence.split()) <= num_words]
    if fitting:
        assert max(fitting, key=lambda i: (scores[i], -i)) in chosen, "the best that fits is always taken"


def test_selection_errors():
    for budgets in ({}, {"num_sentences": 0}, {"num_sentences": 2, "num_words": 0}):
        with pytest.raises(UsageError, match="needs a budget"):
            select_sentences([1.0], ["one"], **budgets)
    with pytest.raises(UsageError, match="2 sentences but 1 scores"):
        select_sentences([1.0], ["one", "two"], num_sentences=1)


# Whole texts


def test_lead():
    text = " ".join(ARTICLE)
    assert [sentence.index for sentence in summarize(text, lead_scores, num_sentences=3).sentences] == [
        0,
        1,
        2,
    ]


def test_offsets_lead_back_to_the_source():
    text = "Fire in Leeds\n\n" + "\n".join(ARTICLE) + "\n- No end.\n"
    summary = summarize(text, textrank_scores, num_sentences=3)
    assert len(summary.all_sentences) == 7 and len(summary.sentences) == 3
    scores = textrank_scores(["Fire in Leeds", *ARTICLE, "No end."])
    for sentence in summary.sentences:
        assert text[sentence.start : sentence.end] == sentence.text
        assert sentence.score == scores[sentence.index]
    assert [s.index for s in summary.sentences] == sorted(np.argsort(-scores, kind="stable")[:3])
    assert summary.text == " ".join(sentence.text for sentence in summary.sentences)


def test_empty_text_and_one_sentence():
    def never(sentences):
        raise AssertionError("nothing to score")

    assert summarize(" \n ", never, num_sentences=2) == ([], [])
    assert summarize("", never, num_words=5).text == ""
    one = summarize("  Just this\none line here.  ", never, num_words=1)
    assert one.sentences == [("Just this\none line here.", 2, 26, 0, 0.0)]
    assert one.text == "Just this one line here."
    with pytest.raises(UsageError, match="needs a budget"):
        summarize("", never)


def test_network_gets_the_document_as_a_batch_of_one(monkeypatch):
    shapes = []

    def network(token_ids, features):
        shapes.append((token_ids.shape, features.shape))
        return features[:, :, FEATURE_NAMES.index("length up to 25 words")]

    score = functools.partial(network_scores, encoder=ENCODER, network=network)
    token_ids, features = network_inputs(ARTICLE, ENCODER)
    assert token_ids.dtype == np.int32 and features.dtype == np.float32
    assert ENCODER.decode(token_ids[1]) == [
        token if token in VOCABULARY else "[UNK]" for token in tokenize(ARTICLE[1].lower())
    ]
    np.testing.assert_allclose(score(ARTICLE) * 25, [11, 6, 3, 11, 5], rtol=1e-6)
    assert shapes == [((1, 5, 12), (1, 5, len(FEATURE_NAMES)))]
    monkeypatch.setattr(summarization, "WINDOW", 2)
    np.testing.assert_allclose(score(ARTICLE) * 25, [11, 6, 3, 11, 5], rtol=1e-6)
    assert [ids[1] for ids, _ in shapes[1:]] == [2, 2, 1]
    assert score([]).shape == (0,)


def test_documents_become_a_batch():
    short, long = network_inputs(ARTICLE[:2], ENCODER), network_inputs(ARTICLE, ENCODER)
    token_ids, features = pad_documents([short, long], 4)
    assert token_ids.shape == (2, 4, 12) and features.shape == (2, 4, len(FEATURE_NAMES))
    assert token_ids.dtype == np.int32 and features.dtype == np.float32
    np.testing.assert_array_equal(token_ids[0, :2], short[0])
    np.testing.assert_array_equal(features[0, :2], short[1])
    np.testing.assert_array_equal(token_ids[0, 2:], [[1] + [0] * 11] * 2)
    assert not features[0, 2:].any()
    np.testing.assert_array_equal(token_ids[1], long[0][:4])
    np.testing.assert_array_equal(features[1], long[1][:4])


@pytest.mark.parametrize("sentence", ["Rain {} fell on the old {} town in the {} north again. ", "Word{}\n"])
def test_twenty_thousand_words_in_bounded_time_and_memory(sentence):
    num_words = len(sentence.split())
    text = "".join(sentence.replace("{}", str(n)) for n in range(20_000 // num_words))
    score = functools.partial(network_scores, encoder=ENCODER, network=lambda ids, features: features.sum(-1))
    tracemalloc.start()
    start = time.process_time()
    summary = summarize(text, score, num_words=100)
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(summary.all_sentences) == 20_000 // num_words
    assert 0 < sum(len(sentence_words(s.text)) for s in summary.sentences) <= 100
    assert seconds < 60 and peak < 300e6


@pytest.mark.parametrize("damping", [1, 1.5, -0.1, float("nan")])
def test_a_walk_that_never_jumps_is_refused(damping):
    with pytest.raises(UsageError, match=r"damping is .*; it must be at least 0 and below 1"):
        pagerank(np.ones((3, 3)), damping)
