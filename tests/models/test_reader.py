"""The readers: attention and pointers by hand in NumPy, padding, learning, saving, errors."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from course_lib.errors import UsageError
from course_lib.models.encoder import build_encoder
from course_lib.models.reader import (
    ClosedPositions,
    QuestionAttention,
    SpanLoss,
    build_span_reader,
    build_yes_no_reader,
    reading_network,
)
from course_lib.question_answering import NO_ANSWER, PASSAGE, QUESTION, EncodedPair, best_span, join_pair
from course_lib.text.batches import BucketedBatches
from course_lib.training import compile_classifier, predict_tokens, train

# Two questions with their passages; the second row ends in padding.
TOKEN_IDS = np.array([[4, 5, 6, 5, 7, 1], [1, 8, 8, 1, 0, 0]], dtype=np.int32)
ROLES = np.array([[1, 1, 2, 4, 3, 65], [1, 1, 30, 3, 0, 0]], dtype=np.int32)
# By hand: passage, then the flags worth 1, 2, 4, 8, 16 and 32.
FEATURES = {
    0: [0, 0, 0, 0, 0, 0, 0],
    1: [0, 0, 0, 0, 0, 0, 0],
    2: [1, 0, 0, 0, 0, 0, 0],
    3: [1, 1, 0, 0, 0, 0, 0],
    4: [1, 0, 1, 0, 0, 0, 0],
    30: [1, 0, 0, 1, 1, 1, 0],
    65: [1, 1, 1, 1, 1, 1, 1],
}
INPUTS = {"token_ids": TOKEN_IDS, "roles": ROLES}


def small_encoder(vocabulary_size=12):
    return build_encoder(vocabulary_size, embedding_dim=5, hidden_dim=3)


def joined(question_ids, passage_ids):
    roles = [PASSAGE + 2 * (index in question_ids) for index in passage_ids]
    pair = EncodedPair(question_ids, passage_ids, roles, [])
    return join_pair(pair, (0, len(passage_ids)))


def shaken(model):
    # Biases begin at zero, where a mistake with them would not show.
    random = np.random.default_rng(0)
    model.set_weights([weights + random.normal(0, 0.3, weights.shape) for weights in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def reader():
    keras.utils.set_random_seed(0)
    return shaken(build_span_reader(small_encoder(), attention_dim=4, hidden_dim=3, dropout=0.2))


@pytest.fixture(scope="module")
def yes_no():
    keras.utils.set_random_seed(0)
    return shaken(build_yes_no_reader(small_encoder(), attention_dim=4, hidden_dim=3, dropout=0.2))


def test_attention_by_hand():
    keras.utils.set_random_seed(1)
    states = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    layer = QuestionAttention(4)
    fused, weights = layer([states, ROLES])
    kernel, bias = layer.get_weights()
    for row in range(2):
        asked = np.flatnonzero(ROLES[row] == QUESTION)
        keys = np.maximum(states[row] @ kernel + bias, 0)
        for t in range(6):
            expected = np.zeros(6)
            expected[asked] = softmax([keys[t] @ keys[s] for s in asked])
            np.testing.assert_allclose(weights[row, t], expected, atol=1e-6)
            context = expected @ states[row]
            by_hand = [*states[row, t], *context, *states[row, t] * context, *FEATURES[ROLES[row, t]]]
            np.testing.assert_allclose(fused[row, t], by_hand, atol=1e-5)


def test_pointers_stand_on_the_passage_or_on_no_answer(reader):
    logits = np.array(reader(INPUTS))
    assert logits.shape == (2, 6, 2)
    distribution = softmax(logits, axis=1)
    np.testing.assert_allclose(distribution.sum(axis=1), 1, rtol=1e-5)
    is_open = (ROLES >= PASSAGE) | (np.arange(6) == NO_ANSWER)
    assert (distribution[~is_open] == 0).all() and (distribution[is_open] > 0).all()
    closed = ClosedPositions()([np.full((2, 6, 2), 9.0, np.float32), ROLES])
    assert (np.array(closed)[is_open] == 9).all() and (np.array(closed)[~is_open] < -1e4).all()


def test_the_same_pair_gets_the_same_answer_whatever_its_padding(reader, yes_no):
    short = {name: values[1:, :4] for name, values in INPUTS.items()}
    long = {name: np.pad(values[1:, :4], [(0, 0), (0, 5)]) for name, values in INPUTS.items()}
    np.testing.assert_allclose(reader(short), np.array(reader(long))[:, :4], atol=1e-5)
    np.testing.assert_allclose(yes_no(short), yes_no(long), atol=1e-5)


def test_the_encoder_reads_one_sequence_and_the_question_matters(yes_no):
    other = {**INPUTS, "token_ids": TOKEN_IDS + (ROLES == QUESTION) * 2}
    before, after = np.array(yes_no(INPUTS)), np.array(yes_no(other))
    assert before.shape == (2, 2) and np.abs(before - after).min() > 1e-4


def test_parameters_by_hand():
    model = build_span_reader(
        build_encoder(100, embedding_dim=50, hidden_dim=64), attention_dim=32, hidden_dim=16
    )
    encoder = 100 * 50 + 2 * 4 * 64 * (50 + 64 + 1)
    fused = 3 * 128 + 7
    reading = 2 * 4 * 16 * (fused + 16 + 1)
    assert model.count_params() == encoder + (128 + 1) * 32 + reading + (fused + 32 + 1) * 2


def test_span_loss_by_hand():
    logits = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    labels = np.array([[0, 0], [2, 4], [3, 3]])
    logs = log_softmax(logits, axis=1)
    each = [-(logs[i, first, 0] + logs[i, last, 1]) / 2 for i, (first, last) in enumerate(labels)]
    np.testing.assert_allclose(SpanLoss()(labels, logits), np.mean(each), rtol=1e-5)
    weighted = SpanLoss()(labels, logits, sample_weight=np.array([1.0, 0.0, 2.0]))
    np.testing.assert_allclose(weighted, (each[0] + 2 * each[2]) / 3, rtol=1e-5)


def test_it_learns_to_find_what_follows_the_question_s_word():
    """Passages of random tokens; the answer is the two tokens behind the one that was asked for."""
    random = np.random.default_rng(0)
    rows, labels = [], []
    for index in range(240):
        passage = random.permutation(np.arange(10, 40))[: random.integers(8, 13)].tolist()
        place = int(random.integers(0, len(passage) - 2))
        asked = passage[place] if index % 4 else 9  # every fourth question asks for what is not there
        rows.append(joined([2, asked], passage))
        labels.append((place + 3, place + 4) if index % 4 else (NO_ANSWER, NO_ANSWER))
    token_ids, roles = zip(*rows, strict=True)
    keras.utils.set_random_seed(0)
    model = build_span_reader(small_encoder(40), attention_dim=8, hidden_dim=12)
    # XLA: JAX's only way to compile; TensorFlow's own is quicker here.
    jit_compile = keras.backend.backend() == "jax"
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss=SpanLoss(), jit_compile=jit_compile)
    inputs = {"token_ids": token_ids, "roles": roles}
    batches = BucketedBatches(inputs, np.array(labels), batch_size=24, bucket_lengths=[14], seed=0)
    losses = train(model, batches, epochs=14, verbose=0)["loss"]
    assert losses[0] > 1.5 and losses[-1] < 0.3
    found = predict_tokens(model, inputs, batch_size=24, bucket_lengths=[14])
    right = 0
    for scores, label in zip(found, labels, strict=True):
        span = best_span(scores[2:, 0], scores[2:, 1], 4)
        beaten = span.score < scores[NO_ANSWER].sum()
        right += label == ((NO_ANSWER, NO_ANSWER) if beaten else (span.first + 2, span.last + 2))
    assert right / len(labels) > 0.9


def test_yes_no_trains_like_any_classifier():
    """Yes if the passage holds the question's word."""
    random = np.random.default_rng(1)
    rows, labels = [], []
    for _ in range(160):
        passage = random.permutation(np.arange(10, 30))[:7].tolist()
        labels.append(int(random.random() < 0.5))
        asked = random.choice(passage if labels[-1] else sorted(set(range(10, 30)) - set(passage)))
        rows.append(joined([2, int(asked)], passage))
    token_ids, roles = zip(*rows, strict=True)
    keras.utils.set_random_seed(0)
    model = build_yes_no_reader(small_encoder(30), attention_dim=4, hidden_dim=6)
    compile_classifier(model, keras.optimizers.Adam(0.02))
    inputs = {"token_ids": token_ids, "roles": roles}
    batches = BucketedBatches(inputs, np.array(labels), batch_size=20, bucket_lengths=[9], seed=0)
    history = train(model, batches, epochs=6, verbose=0)
    assert history["accuracy"][-1] > 0.95


def test_a_reader_answers_through_its_network(reader, yes_no):
    for model in (reader, yes_no):
        network = reading_network(model)
        np.testing.assert_allclose(network(TOKEN_IDS, ROLES), model(INPUTS), atol=1e-5)
        np.testing.assert_allclose(network(TOKEN_IDS[1:], ROLES[1:]), np.array(model(INPUTS))[1:], atol=1e-5)


def test_saving_keeps_the_answers(reader, yes_no, tmp_path):
    for model in (reader, yes_no):
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
        np.testing.assert_array_equal(loaded(INPUTS), model(INPUTS))


@pytest.mark.parametrize("build", [build_span_reader, build_yes_no_reader])
def test_wrong_sizes_are_refused(build):
    with pytest.raises(UsageError, match="attention_dim is 0"):
        build(small_encoder(), attention_dim=0)
    with pytest.raises(UsageError, match="dropout is 1"):
        build(small_encoder(), dropout=1)
