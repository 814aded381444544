"""Counting, training, alignment and intrinsic tests, against loops, automatic differentiation and gensim."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from course_lib.data import load_analogies, load_glove_6b_50d, load_word_pairs
from course_lib.embeddings import (
    _adagrad_step,
    align,
    analogy_accuracy,
    as_keyed_vectors,
    count_cooccurrences,
    glove_loss_and_gradients,
    glove_weight,
    load_glove,
    similarity_correlation,
    train_glove,
    unit_vectors,
)
from course_lib.errors import UsageError
from course_lib.text import PAD_ID, UNKNOWN_ID, Vocabulary


@pytest.fixture(scope="module")
def glove():
    return load_glove()


def cooccurrences_by_loop(texts, vocabulary_size, window):
    counts = np.zeros((vocabulary_size, vocabulary_size))
    for ids in texts:
        for i, word in enumerate(ids):
            for j, context in enumerate(ids):
                if 0 < abs(i - j) <= window and word > UNKNOWN_ID and context > UNKNOWN_ID:
                    counts[word, context] += 1 / abs(i - j)
    return counts


# --- co-occurrence counts ---


@given(st.lists(st.lists(st.integers(0, 6), max_size=9), max_size=5), st.integers(1, 12))
def test_cooccurrences_equal_a_double_loop(texts, window):
    counts = count_cooccurrences(texts, 7, window)
    assert counts.shape == (7, 7)
    np.testing.assert_allclose(counts.toarray(), cooccurrences_by_loop(texts, 7, window), atol=1e-12)
    assert (counts != counts.T).nnz == 0


def test_cooccurrences_of_a_text_worked_out_by_hand():
    # 2 3 2 _ 4, where _ is unknown: it is not counted but keeps its place.
    counts = count_cooccurrences([[2, 3, 2, UNKNOWN_ID, 4]], 5, window=2).toarray()
    expected = np.zeros((5, 5))
    expected[2, 3] = expected[3, 2] = 1 + 1  # two neighbours at distance 1
    expected[2, 2] = 2 * 0.5  # one pair at distance 2, seen from either side
    expected[2, 4] = expected[4, 2] = 0.5
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("texts", [[], [[]], [[], []], [[3]], [[3], [4]]])
def test_texts_without_neighbours_have_no_pairs(texts):
    assert count_cooccurrences(texts, 5, window=10).nnz == 0


def test_cooccurrences_take_a_generator_of_texts():
    texts = [[2, 3], [3, 4, 2]]
    assert (count_cooccurrences((ids for ids in texts), 5, 2) != count_cooccurrences(texts, 5, 2)).nnz == 0


def test_cooccurrences_refuse_an_empty_window_and_a_foreign_id():
    with pytest.raises(UsageError, match="window is 0"):
        count_cooccurrences([[2, 3]], 5, window=0)
    with pytest.raises(UsageError, match="id 9, but the vocabulary has 5 ids"):
        count_cooccurrences([[2, 9]], 5, window=1)


# --- loss and gradients ---


def test_weight_at_points_worked_out_by_hand():
    np.testing.assert_allclose(glove_weight(np.array([100.0, 1000.0, 100 / 16])), [1, 1, 1 / 8])
    np.testing.assert_allclose(glove_weight(np.array([10.0, 0.625]), x_max=10), [1, 1 / 8])


def test_loss_and_gradients_of_one_pair_worked_out_by_hand():
    # w·c = 1·3 + 2·(−1) = 1, biases 0.5 + 0.25, log x = 0, so the error is 1.75; f(1) = (1/16)^0.75 = 1/8.
    loss, (for_words, for_contexts, for_bias) = glove_loss_and_gradients(
        np.array([[1.0, 2.0]]),
        np.array([[3.0, -1.0]]),
        np.array([0.5]),
        np.array([0.25]),
        np.array([1.0]),
        16,
    )
    assert loss == pytest.approx(1.75**2 / 8)
    np.testing.assert_allclose(for_bias, [2 * 1.75 / 8])
    np.testing.assert_allclose(for_words, [[3 * 0.4375, -0.4375]])
    np.testing.assert_allclose(for_contexts, [[0.4375, 2 * 0.4375]])


@pytest.mark.parametrize("x_max", [100.0, 3.0])
def test_gradients_equal_automatic_differentiation(x_max):
    import tensorflow as tf

    random = np.random.default_rng(0)
    counts = random.gamma(0.5, 40, 30) + 0.1
    parts = [tf.Variable(random.normal(size=shape)) for shape in ((30, 7), (30, 7), (30,), (30,))]
    words, contexts, word_bias, context_bias = parts
    with tf.GradientTape() as tape:
        weight = tf.minimum(tf.constant(1.0, tf.float64), (counts / x_max) ** 0.75)
        error = tf.reduce_sum(words * contexts, axis=1) + word_bias + context_bias - np.log(counts)
        expected_loss = tf.reduce_sum(weight * error**2)
    expected = tape.gradient(expected_loss, parts)
    loss, (for_words, for_contexts, for_bias) = glove_loss_and_gradients(
        *(p.numpy() for p in parts), counts, x_max
    )
    assert loss == pytest.approx(float(expected_loss), rel=1e-12)
    for ours, theirs in zip((for_words, for_contexts, for_bias, for_bias), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-10)


def test_adagrad_step_sums_repeated_rows_and_leaves_the_others():
    random = np.random.default_rng(1)
    table, square = random.normal(size=(5, 3)), random.uniform(1, 2, (5, 3))
    index, gradients = np.array([3, 0, 3, 3, 1]), random.normal(size=(5, 3))
    expected_table, expected_square = table.copy(), square.copy()
    for row in (0, 1, 3):
        summed = sum(gradient for i, gradient in zip(index, gradients, strict=True) if i == row)
        expected_square[row] += summed**2
        expected_table[row] -= 0.1 * summed / np.sqrt(expected_square[row])
    _adagrad_step(table, square, index, gradients, 0.1)
    np.testing.assert_allclose(table, expected_table, rtol=1e-6)
    np.testing.assert_allclose(square, expected_square, rtol=1e-6)


# --- training ---


def planted(num_words=40, rank=3):
    """A symmetric count matrix whose logarithm is a low-rank product plus biases: GloVe can fit it."""
    random = np.random.default_rng(2)
    vectors, bias = random.normal(size=(num_words, rank)) * 0.7, random.normal(size=num_words)
    return vectors, sparse.csr_matrix(np.exp(vectors @ vectors.T + bias + bias[:, None] + 1))


def test_training_recovers_planted_vectors():
    vectors, counts = planted()
    trained, losses = train_glove(counts, 8, 400, seed=0, learning_rate=0.2, batch_size=200)
    assert trained.shape == (40, 8) and trained.dtype == np.float32
    assert losses[-1] < 1e-3 * losses[0]
    # Word and context vectors share one product, so the sum's angles show the planted neighbourhoods.
    nearest = (unit_vectors(trained) @ unit_vectors(trained).T - 2 * np.eye(40)).argmax(axis=1)
    planted_cosine = unit_vectors(vectors) @ unit_vectors(vectors).T
    assert planted_cosine[np.arange(40), nearest].mean() > 0.8
    assert planted_cosine.mean() < 0.2


def test_training_depends_on_the_seed_alone():
    _, counts = planted()
    first, first_losses = train_glove(counts, 4, 3, seed=5)
    again, again_losses = train_glove(counts, 4, 3, seed=5)
    other, _ = train_glove(counts, 4, 3, seed=6)
    np.testing.assert_array_equal(first, again)
    assert first_losses == again_losses
    assert not np.allclose(first, other)


def test_one_epoch_in_one_batch_equals_a_plain_loop():
    _, counts = planted(6, 2)
    start, _ = train_glove(counts, 2, 0, seed=3)
    trained, losses = train_glove(counts, 2, 1, seed=3, x_max=5.0, learning_rate=0.3, batch_size=1000)
    random = np.random.default_rng(3)
    words, contexts = (random.uniform(-0.5, 0.5, (6, 3)).astype(np.float32) / 2 for _ in range(2))
    np.testing.assert_array_equal(start, (words + contexts)[:, :2])
    gradients, loss = np.zeros((2, 6, 3)), 0.0
    for i in range(6):
        for j in range(6):
            x = counts[i, j]
            weight = min(1, (x / 5) ** 0.75)
            error = words[i, :2] @ contexts[j, :2] + words[i, 2] + contexts[j, 2] - math.log(x)
            loss += weight * error**2
            gradients[0, i] += 2 * weight * error * np.append(contexts[j, :2], 1)
            gradients[1, j] += 2 * weight * error * np.append(words[i, :2], 1)
    steps = 0.3 * gradients / np.sqrt(1 + gradients**2)
    np.testing.assert_allclose(trained, (words + contexts - steps[0] - steps[1])[:, :2], atol=1e-5)
    assert losses == [pytest.approx(loss / 36, rel=1e-5)]


def test_progress_wraps_the_epochs():
    seen = []

    def progress(epochs):
        for epoch in epochs:
            seen.append(epoch)
            yield epoch

    train_glove(planted(6, 2)[1], 2, 4, seed=0, progress=progress)
    assert seen == [0, 1, 2, 3]


def test_training_without_pairs_is_refused():
    with pytest.raises(UsageError, match="no co-occurring words"):
        train_glove(count_cooccurrences([[2]], 4, 5), 3, 1, seed=0)


# --- KeyedVectors ---


def test_load_glove_is_one_object_around_the_mapped_matrix(glove):
    assert load_glove() is glove
    assert isinstance(glove.vectors, np.memmap) and not glove.vectors.flags.writeable
    words, vectors = load_glove_6b_50d()
    assert glove.index_to_key == words and glove.vectors.shape == vectors.shape == (400_000, 50)
    np.testing.assert_array_equal(glove["film"], vectors[words.index("film")])
    mapped = np.arange(6.0).reshape(3, 2)
    assert as_keyed_vectors("abc", mapped).vectors is mapped


def test_neighbours_equal_brute_force(glove):
    first = time.perf_counter()
    found = glove.most_similar("film", topn=5)
    assert time.perf_counter() - first < 10
    # gensim keeps the lengths, not a second matrix of 80 MB.
    assert isinstance(glove.vectors, np.memmap) and glove.norms.shape == (400_000,)
    units = glove.vectors / np.linalg.norm(glove.vectors, axis=1, keepdims=True)
    cosines = units @ units[glove.key_to_index["film"]]
    nearest = np.argsort(-cosines)[1:6]
    assert [word for word, _ in found] == [glove.index_to_key[i] for i in nearest]
    np.testing.assert_allclose([cosine for _, cosine in found], cosines[nearest], atol=1e-5)


def test_words_and_vectors_must_be_as_many():
    with pytest.raises(UsageError, match="2 words but 3 vectors"):
        as_keyed_vectors(["a", "b"], np.zeros((3, 4)))


def test_unit_vectors_keep_a_zero_row():
    np.testing.assert_allclose(unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])


# --- alignment ---


@pytest.fixture
def three_words():
    return as_keyed_vectors(["film", "good", "bad"], np.array([[1, 2], [3, 4], [5, 9]], dtype=np.float32))


def test_alignment_worked_out_by_hand(three_words):
    aligned = align(three_words, Vocabulary(["bad", "zzz", "film", "qqq", "Film"]), seed=0)
    assert aligned.matrix.shape == (7, 2) and aligned.matrix.dtype == np.float32
    assert aligned.found.tolist() == [False, False, True, False, True, False, False]
    assert aligned.coverage == pytest.approx(2 / 5)
    np.testing.assert_array_equal(aligned.matrix[PAD_ID], [0, 0])
    np.testing.assert_array_equal(aligned.matrix[UNKNOWN_ID], [3, 5.5])  # mean of bad and film
    np.testing.assert_array_equal(aligned.matrix[[2, 4]], [[5, 9], [1, 2]])


def test_words_without_a_vector_are_drawn_like_the_others_and_by_seed(three_words):
    vocabulary = Vocabulary(["film", "bad", *(f"unknown{i}" for i in range(20_000))])
    drawn = align(three_words, vocabulary, seed=0).matrix[4:]
    np.testing.assert_allclose(drawn.mean(axis=0), [3, 5.5], atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), [2, 3.5], atol=0.1)
    np.testing.assert_array_equal(drawn, align(three_words, vocabulary, seed=0).matrix[4:])
    assert not np.allclose(drawn, align(three_words, vocabulary, seed=1).matrix[4:])


def test_alignment_without_any_match_says_what_to_compare(three_words):
    with pytest.raises(UsageError, match="spelling and case"):
        align(three_words, Vocabulary(["FILM", "GOOD"]), seed=0)
    with pytest.raises(UsageError):
        align(three_words, Vocabulary([]), seed=0)


def test_a_published_word_for_padding_does_not_fill_the_padding_row():
    vectors = as_keyed_vectors(
        ["[PAD]", "[UNK]", "film"], np.array([[7, 7], [8, 8], [1, 2]], dtype=np.float32)
    )
    aligned = align(vectors, Vocabulary(["film"]), seed=0)
    np.testing.assert_array_equal(aligned.matrix, [[0, 0], [1, 2], [1, 2]])
    assert aligned.coverage == 1


# --- intrinsic tests ---


@pytest.fixture
def plane():
    """Words in a plane, where every answer can be seen with the naked eye."""
    degrees = {"a": 0, "b": 40, "c": 50, "d": 75, "near_c": 55, "far": 250}
    radians = np.radians(list(degrees.values()))
    return as_keyed_vectors(
        list(degrees), np.column_stack([np.cos(radians), np.sin(radians)]).astype(np.float32)
    )


def test_analogies_in_the_plane(plane):
    # b − a + c of unit vectors points at 73.8 degrees: d (75) is nearest, near_c (55) is not.
    cosine, sine = (f(math.radians(40)) + f(math.radians(50)) - f(0) for f in (math.cos, math.sin))
    assert math.degrees(math.atan2(sine, cosine)) == pytest.approx(73.8, abs=0.05)
    assert analogy_accuracy(plane, [("a", "b", "c", "d")]) == (1.0, 0.0)
    assert analogy_accuracy(plane, [("a", "b", "c", "near_c")]) == (0.0, 0.0)
    questions = [
        ("a", "b", "c", "d"),
        ("a", "b", "c", "near_c"),
        ("a", "b", "c", "missing"),
        ("a", "x", "c", "d"),
    ]
    assert analogy_accuracy(plane, questions) == (0.5, 0.5)
    assert analogy_accuracy(plane, questions, batch_size=1) == (0.5, 0.5)
    # Restricted to the first four words, near_c can neither be asked for nor answered.
    assert analogy_accuracy(plane, questions, num_words=4) == (1.0, 0.75)


def test_analogies_never_answer_with_a_word_of_the_question(plane):
    # a − a + c is c itself; the nearest other word is near_c.
    assert analogy_accuracy(plane, [("a", "a", "c", "near_c")]) == (1.0, 0.0)
    assert analogy_accuracy(plane, [("a", "a", "c", "c")]) == (0.0, 0.0)


def test_similarities_in_the_plane(plane):
    # Angles 5, 40, 50 degrees: cosines fall, ratings fall; swapping the last two ranks makes rho 0.5.
    falling = [("c", "near_c", 9.0), ("a", "b", 5.0), ("a", "c", 1.0)]
    assert similarity_correlation(plane, falling) == (pytest.approx(1), 0.0)
    swapped = [("C", "near_c", 9.0), ("a", "b", 1.0), ("a", "c", 5.0), ("a", "missing", 3.0)]
    assert similarity_correlation(plane, swapped) == (pytest.approx(0.5), 0.25)


def test_unknown_questions_and_pairs_are_refused(plane):
    with pytest.raises(UsageError, match="analogy questions"):
        analogy_accuracy(plane, [("w", "x", "y", "z")])
    with pytest.raises(UsageError, match="word pairs"):
        similarity_correlation(plane, [("a", "b", 1.0), ("a", "missing", 2.0)])


@pytest.mark.parametrize("name", ["simlex999", "wordsim353"])
def test_similarity_correlation_equals_gensim(glove, name, tmp_path):
    pairs = load_word_pairs(name)
    pairs = [*pairs, ("film", "notawordatall", 5.0)]
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{a}\t{b}\t{rating}\n" for a, b, rating in pairs), encoding="utf-8")
    _, spearman, percent_unknown = glove.evaluate_word_pairs(path, restrict_vocab=400_000)
    correlation, left_out = similarity_correlation(glove, pairs)
    assert correlation == pytest.approx(spearman.statistic, abs=1e-9)
    assert 100 * left_out == pytest.approx(percent_unknown)
    assert 0 < left_out < 0.1


@pytest.mark.parametrize("section", ["family", "gram3-comparative", "capital-common-countries"])
def test_analogy_accuracy_equals_gensim(glove, section, tmp_path):
    questions = load_analogies()[section]
    path = tmp_path / "questions.txt"
    path.write_text(f": {section}\n" + "".join(" ".join(q) + "\n" for q in questions), encoding="utf-8")
    _, sections = glove.evaluate_word_analogies(path, restrict_vocab=10_000)
    num_right, num_wrong = len(sections[0]["correct"]), len(sections[0]["incorrect"])
    accuracy, left_out = analogy_accuracy(glove, questions, num_words=10_000)
    assert accuracy == num_right / (num_right + num_wrong)
    assert left_out == pytest.approx(1 - (num_right + num_wrong) / len(questions))
    assert 0.2 < accuracy < 1
