"""The CRF layer against enumeration of all paths, finite differences and numbers worked out by hand."""

import itertools
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from course_lib.errors import UsageError
from course_lib.layers.crf import CRF, CRFLoss
from course_lib.text.batches import IGNORED_LABEL
from course_lib.text.tagging import allowed_transitions


def layer(transitions, allowed=None, dtype="float64"):
    crf = CRF(allowed, dtype=dtype)
    crf.build((None, None, len(transitions) - 1))
    crf.set_weights([transitions])
    return crf


def path_score(logits, transitions, path):
    """Start, logits, transitions, end: added up one by one."""
    total, previous = 0.0, -1
    for step, tag in enumerate(path):
        total += transitions[previous, tag] + logits[step, tag]
        previous = tag
    return total + transitions[previous, -1]


def all_paths(logits, transitions, allowed=None):
    """Path → score, of every path that is allowed."""
    num_tags = len(transitions) - 1
    paths = {}
    for path in itertools.product(range(num_tags), repeat=len(logits)):
        steps = itertools.pairwise([num_tags, *path, num_tags])
        if allowed is None or all(allowed[step] for step in steps):
            paths[path] = path_score(logits, transitions, path)
    return paths


def numpy(value):
    return ops.convert_to_numpy(value)


def random_case(seed, lengths, num_tags, scale=2.0):
    random = np.random.default_rng(seed)
    logits = random.normal(0, scale, (len(lengths), max(lengths), num_tags))
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    return logits, mask, random.normal(0, scale, (num_tags + 1, num_tags + 1))


TAGS = ["O", "B-X", "I-X"]
ALLOWED = allowed_transitions(TAGS, "BIO")
cases = given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    constrained=st.booleans(),
    scale=st.sampled_from([0.1, 2.0, 50.0]),
)


@settings(max_examples=12, deadline=None)
@cases
def test_everything_equals_the_enumeration_of_all_paths(seed, lengths, constrained, scale):
    logits, mask, transitions = random_case(seed, lengths, len(TAGS), scale)
    allowed = ALLOWED if constrained else None
    crf = layer(transitions, allowed)
    log_z, marginals = numpy(crf.log_partition(logits, mask)), numpy(crf.marginals(logits, mask))
    best_tags, best_score = (numpy(value) for value in crf.viterbi(logits, mask))
    for row, length in enumerate(lengths):
        paths = all_paths(logits[row, :length], transitions, allowed)
        expected = np.logaddexp.reduce(list(paths.values()))
        assert log_z[row] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        probabilities = {path: math.exp(score - expected) for path, score in paths.items()}
        by_hand = np.zeros((length, len(TAGS)))
        for path, probability in probabilities.items():
            by_hand[np.arange(length), path] += probability
        np.testing.assert_allclose(marginals[row, :length], by_hand, atol=1e-9)
        best = max(paths, key=paths.get)
        assert best_score[row] == pytest.approx(paths[best])
        assert tuple(best_tags[row, :length]) == best
        tags = np.zeros((1, logits.shape[1]), int)
        tags[0, :length] = best
        likelihood = numpy(crf.log_likelihood(logits[row : row + 1], tags, mask[row : row + 1]))[0]
        assert likelihood == pytest.approx(math.log(probabilities[best]), abs=1e-9)
    assert (marginals[~mask] == 0).all() and (best_tags[~mask] == 0).all()


def test_by_hand():
    """Two tags, two tokens: e^score of the four paths is 6, 4, 5 and 40."""
    # Before the logarithm: start 1 and 1, end 1 and 2; 0 to 0: 3, 0 to 1: 0.5; 1 to 0: 1, 1 to 1: 2.
    transitions = np.log([[3, 0.5, 1], [1, 2, 2], [1, 1, 1]])
    logits = np.log([[[1.0, 2.5], [2, 4]]])  # first token 1 and 2.5, second 2 and 4
    crf = layer(transitions)
    # 00: 1·3·2·1 = 6   01: 1·0.5·4·2 = 4   10: 2.5·1·2·1 = 5   11: 2.5·2·4·2 = 40; sum 55
    assert numpy(crf.log_partition(logits))[0] == pytest.approx(math.log(55))
    assert numpy(crf.log_likelihood(logits, [[1, 0]]))[0] == pytest.approx(math.log(5 / 55))
    np.testing.assert_allclose(
        numpy(crf.marginals(logits))[0], [[10 / 55, 45 / 55], [11 / 55, 44 / 55]], atol=1e-12
    )
    tags, score = crf.viterbi(logits)
    assert numpy(tags).tolist() == [[1, 1]] and numpy(score)[0] == pytest.approx(math.log(40))


def test_without_transitions_it_is_the_softmax():
    logits, mask, _ = random_case(3, [4, 2], 5)
    crf = layer(np.zeros((6, 6)))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(numpy(crf.marginals(logits, mask))[mask], softmax[mask], atol=1e-12)
    np.testing.assert_array_equal(numpy(crf.viterbi(logits, mask)[0])[mask], logits.argmax(-1)[mask])


def gradients(crf, logits, tags, mask, upstream):
    """Of Σ upstream · log-likelihood: by one step of gradient descent at rate 1, on any backend."""
    inputs = keras.Input(logits.shape[1:], dtype="float64")
    offset = keras.layers.Embedding(logits.shape[0] * logits.shape[1], logits.shape[2], dtype="float64")
    ids = keras.Input((logits.shape[1],), dtype="int32")
    model = keras.Model([inputs, ids], crf(keras.layers.Add(dtype="float64")([inputs, offset(ids)])))
    offset.set_weights([np.zeros((logits.shape[0] * logits.shape[1], logits.shape[2]))])

    def loss(_, values):
        return -ops.sum(crf.log_likelihood(values, tags, mask) * upstream)

    before = numpy(crf.transitions).copy()
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
    model.train_on_batch(
        [logits, np.arange(logits.shape[0] * logits.shape[1]).reshape(mask.shape)], tags * 1.0
    )
    return offset.get_weights()[0].reshape(logits.shape), numpy(crf.transitions) - before


@pytest.mark.parametrize("allowed", [None, ALLOWED], ids=["free", "constrained"])
def test_gradients_equal_finite_differences(allowed):
    """The gradient is not taken through the loop: this is its proof, with a different weight for each row."""
    policy = keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        logits, mask, transitions = random_case(5, [4, 2, 1], 3, scale=1.0)
        tags, upstream = np.array([[1, 2, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]]), np.array([1.0, -2.0, 0.5])
        in_logits, in_transitions = gradients(layer(transitions, allowed), logits, tags, mask, upstream)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy(policy)

    def objective(values, scores):
        total = 0.0
        for row, length in enumerate([4, 2, 1]):
            paths = all_paths(values[row, :length], scores, allowed)
            log_z = np.logaddexp.reduce(list(paths.values()))
            total += upstream[row] * (paths[tuple(tags[row, :length])] - log_z)
        return total

    step = 1e-5
    for array, gradient in ((logits, in_logits), (transitions, in_transitions)):
        for position in np.ndindex(array.shape):
            kept = array[position]
            values = []
            for shifted in (kept + step, kept - step):
                array[position] = shifted
                values.append(objective(logits, transitions))
            array[position] = kept
            assert gradient[position] == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 6), num_padded=st.integers(1, 5))
def test_padding_changes_nothing(seed, length, num_padded):
    logits, _, transitions = random_case(seed, [length], 3)
    tags = np.random.default_rng(seed).integers(0, 3, (1, length))
    padded_tags = np.pad(tags, ((0, 0), (0, num_padded)), constant_values=IGNORED_LABEL)
    padded = np.pad(logits, ((0, 0), (0, num_padded), (0, 0)), constant_values=1e3)
    mask = np.arange(length + num_padded)[None] < length
    crf = layer(transitions)
    alone, wide = crf.log_likelihood(logits, tags), crf.log_likelihood(padded, padded_tags, mask)
    np.testing.assert_allclose(numpy(wide), numpy(alone), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        numpy(crf.marginals(padded, mask))[:, :length], numpy(crf.marginals(logits)), atol=1e-9
    )
    for one, two in zip(crf.viterbi(padded, mask), crf.viterbi(logits), strict=True):
        np.testing.assert_allclose(numpy(one)[..., :length], numpy(two))


def test_a_row_without_any_token_counts_nothing_and_disturbs_nobody():
    logits, mask, transitions = random_case(0, [3, 3], 3)
    mask[1] = False
    crf = layer(transitions)
    tags = np.array([[1, 2, 0], [IGNORED_LABEL] * 3])
    likelihood = numpy(crf.log_likelihood(logits, tags, mask))
    assert likelihood[1] == 0
    assert likelihood[0] == pytest.approx(numpy(crf.log_likelihood(logits[:1], tags[:1]))[0])
    assert numpy(crf.viterbi(logits, mask)[1])[1] == 0


def test_forbidden_transitions_never_occur_however_high_their_logits():
    logits = np.zeros((1, 4, 3))
    logits[..., 2] = 100.0  # I-X everywhere
    transitions = np.full((4, 4), 7.0)
    tags, _ = layer(transitions, ALLOWED, "float32").viterbi(logits)
    assert numpy(tags).tolist() == [[1, 2, 2, 2]]
    marginals = numpy(layer(transitions, ALLOWED, "float32").marginals(logits))
    assert marginals[0, 0, 2] == 0 and np.isfinite(marginals).all()


def test_a_forbidden_gold_sequence_has_a_finite_loss():
    crf = layer(np.zeros((4, 4)), ALLOWED, "float32")
    value = numpy(CRFLoss(crf)(np.array([[0, 2]]), np.zeros((1, 2, 3), "float32")))
    assert 9_000 < value < 11_000


def test_half_precision_logits_are_summed_in_float32():
    logits, mask, transitions = random_case(1, [300], 3)
    crf = CRF(dtype="mixed_float16")
    crf.build((None, None, 3))
    crf.set_weights([transitions])
    half = logits.astype("float16")
    expected = numpy(layer(transitions).log_partition(half.astype("float64"), mask))
    np.testing.assert_allclose(numpy(crf.log_partition(half, mask)), expected, rtol=1e-5)


# Without XLA the JAX backend would run operation by operation.
@pytest.mark.parametrize("jit_compile", sorted({True, keras.backend.backend() == "jax"}))
def test_fit_finds_the_transitions_of_a_markov_chain(jit_compile):
    """Logits say nothing (they are all equal); the likelihood's optimum is the chain's own probabilities."""
    chain = np.array([[0.8, 0.2], [0.4, 0.6]])
    random = np.random.default_rng(0)
    tags = np.zeros((2000, 8), int)
    tags[:, 0] = random.random(2000) < 0.5
    for step in range(1, 8):
        tags[:, step] = random.random(2000) < chain[tags[:, step - 1], 1]
    inputs = keras.Input((None, 2))
    crf = CRF()
    model = keras.Model(inputs, crf(inputs))
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss=CRFLoss(crf), jit_compile=jit_compile)
    history = model.fit(np.zeros((2000, 8, 2)), tags, batch_size=500, epochs=25, verbose=0).history["loss"]
    counts = np.zeros((2, 2))
    np.add.at(counts, (tags[:, :-1].ravel(), tags[:, 1:].ravel()), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    starts = np.bincount(tags[:, 0]) / len(tags)
    entropy = -(counts * np.log(shares)).sum() / 2000 - (starts * np.log(starts)).sum()
    assert history[-1] == pytest.approx(entropy, rel=2e-3)


def test_loss_is_the_mean_over_the_weighted_rows():
    logits, _, transitions = random_case(2, [4, 4], 3)
    crf = layer(transitions, dtype="float32")
    tags = np.array([[1, 2, 0, IGNORED_LABEL], [0, 1, IGNORED_LABEL, IGNORED_LABEL]])
    each = -numpy(crf.log_likelihood(logits, tags, tags != IGNORED_LABEL))
    loss = CRFLoss(crf)(tags, logits, sample_weight=np.array([[2.0], [0.5]]))
    assert float(loss) == pytest.approx((2.0 * each[0] + 0.5 * each[1]) / 2, rel=1e-5)


def test_a_saved_model_keeps_transitions_and_constraints_and_wants_to_be_compiled_anew(tmp_path):
    inputs = keras.Input((None, 3))
    crf = CRF(ALLOWED, name="crf")
    model = keras.Model(inputs, crf(inputs))
    transitions = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    crf.set_weights([transitions])
    model.compile(optimizer="sgd", loss=CRFLoss(crf))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    restored = loaded.get_layer("crf")
    np.testing.assert_array_equal(numpy(restored.transitions), transitions)
    np.testing.assert_array_equal(restored.allowed, ALLOWED)
    with pytest.raises(UsageError, match="compile_tagger"):
        loaded.train_on_batch(np.zeros((1, 2, 3)), np.zeros((1, 2)))


def test_the_mask_ends_here_and_logits_pass():
    crf = CRF()
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    np.testing.assert_array_equal(numpy(crf(logits)), logits)
    assert crf.compute_mask(None, np.ones((2, 3), bool)) is None
    assert crf.compute_output_shape((None, None, 4)) == (None, None, 4)


def test_a_matrix_of_the_wrong_size_is_refused():
    with pytest.raises(UsageError, match=r"\(4, 4\).*\(6, 6\)"):
        CRF(ALLOWED).build((None, None, 5))
