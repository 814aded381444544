"""On a GPU each LSTM of the course goes to cuDNN: a stand-in for its operation takes the calls here.

The stand-in computes an LSTM from cuDNN's own arguments, so that masks, lengths and weights have to be right;
Keras itself asserts the masks before it calls. How fast cuDNN is, only a GPU can show.
"""

import keras
import numpy as np
import pytest

from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.models.language_model import build_language_model
from course_lib.models.reader import build_span_reader, build_yes_no_reader
from course_lib.models.summarizer import build_summarizer
from course_lib.models.tagger import build_tagger
from course_lib.models.translator import build_translator
from course_lib.text.batches import BucketedBatches
from course_lib.training import compile_classifier, compile_tagger, train

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="On JAX, Keras gives cuDNN no layer with a mask."
)

HIDDEN = 3
# The second row ends in padding.
IDS = np.array([[4, 5, 6, 5, 7], [1, 8, 8, 0, 0]], dtype=np.int32)


@pytest.fixture
def cudnn(monkeypatch):
    """Keras takes this machine for one with a GPU; the list holds (batch, time) of each call to cuDNN."""
    import tensorflow as tf

    calls = []

    def lstm(*, input, input_h, input_c, params, is_training, rnn_mode, sequence_lengths, time_major):
        assert rnn_mode == "lstm" and is_training and not time_major
        calls.append(tuple(input.shape[:2]))
        features, hidden = input.shape[-1], input_h.shape[-1]
        sizes = [4 * hidden * features, 4 * hidden * hidden, 4 * hidden, 4 * hidden]
        kernel, recurrent, bias, recurrent_bias = tf.split(params, sizes)
        kernel = tf.reshape(kernel, (4 * hidden, features))
        recurrent = tf.reshape(recurrent, (4 * hidden, hidden))

        def step(state, now):
            h, c = state
            x, time = now
            gates = x @ tf.transpose(kernel) + h @ tf.transpose(recurrent) + bias + recurrent_bias
            i, f, g, o = tf.split(gates, 4, axis=1)
            new_c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            goes_on = (time < sequence_lengths)[:, None]
            return tf.where(goes_on, tf.sigmoid(o) * tf.tanh(new_c), h), tf.where(goes_on, new_c, c)

        steps = tf.transpose(input, (1, 0, 2)), tf.range(tf.shape(input)[1])
        states, cells = tf.scan(step, steps, (input_h[:, 0], input_c[:, 0]))
        is_token = tf.sequence_mask(sequence_lengths, tf.shape(input)[1], input.dtype)
        outputs = tf.transpose(states, (1, 0, 2)) * is_token[..., None]
        return outputs, states[-1][:, None], cells[-1][:, None], None, None

    def pretend():
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["/GPU:0"])
        monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", lstm)
        return calls

    return pretend


def outputs(model, inputs):
    return [keras.ops.convert_to_numpy(part) for part in keras.tree.flatten(model(inputs))]


def encoder(num_layers=1):
    return build_encoder(12, embedding_dim=4, hidden_dim=HIDDEN, num_layers=num_layers, dropout=0.2)


def tagger():
    return build_tagger(
        12,
        4,
        output="crf",
        embedding_dim=4,
        hidden_dim=HIDDEN,
        num_characters=9,
        casing=True,
        dropout=0.2,
        word_dropout=0.1,
        layer_normalization=True,
    )


def tagged_ids():
    characters = np.where(IDS[..., None] > 0, [[[2, 3, 0]]], 0).astype(np.int32)
    return {"token_ids": IDS, "char_ids": characters, "casing_ids": np.minimum(IDS, 2)}


def with_random_scores(model):
    # They begin at zero, where nothing that the LSTM computes would show.
    layer = model.get_layer("score")
    layer.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in layer.get_weights()])
    return model


ROLES = np.array([[1, 1, 2, 4, 3], [1, 2, 3, 0, 0]], dtype=np.int32)
DOCUMENTS = [np.array([[[4, 5], [6, 0], [7, 8]], [[1, 2], [3, 0], [1, 0]]], dtype=np.int32),
             np.array([[[1.0], [2.0], [3.0]], [[1.0], [0.5], [0.0]]], dtype=np.float32)]  # fmt: skip
TRANSLATED = {"source_ids": IDS, "target_ids": IDS[:, ::-1].copy()}
MODELS = {
    "classifier": (lambda: build_classifier(encoder(2), 2), IDS, 4),
    "tagger": (tagger, tagged_ids(), 2),
    "language model": (
        lambda: build_language_model(
            12, batch_size=2, embedding_dim=4, hidden_dim=HIDDEN, directions=("forward", "backward")
        ),
        {"forward": IDS, "backward": IDS},
        2,
    ),
    "translator": (
        lambda: build_translator(12, 12, embedding_dim=4, hidden_dim=HIDDEN),
        TRANSLATED,
        3,
    ),
    "yes/no reader": (
        lambda: build_yes_no_reader(encoder(), attention_dim=2, hidden_dim=HIDDEN),
        {"token_ids": IDS, "roles": ROLES},
        4,
    ),
    "span reader": (
        lambda: build_span_reader(encoder(), attention_dim=2, hidden_dim=HIDDEN),
        {"token_ids": IDS, "roles": ROLES},
        4,
    ),
    "summarizer": (
        lambda: with_random_scores(build_summarizer(encoder(), np.array([[0.0], [1.0]]), hidden_dim=HIDDEN)),
        DOCUMENTS,
        4,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_lstm_goes_to_cudnn_and_gives_the_same(name, cudnn):
    build, inputs, num_lstms = MODELS[name]
    keras.utils.set_random_seed(0)
    model = build()
    before = outputs(model, inputs)
    if name == "language model":  # its states stay from call to call
        for layer in model.layers:
            if isinstance(layer, keras.layers.LSTM):
                layer.reset_states()
    calls = cudnn()
    after = outputs(model, inputs)
    assert len(calls) == num_lstms
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)
    assert max(np.ptp(part) for part in before) > 1e-3


@pytest.mark.parametrize("kind", ["classifier", "tagger"])
def test_training_on_bucketed_batches_goes_to_cudnn(kind, cudnn):
    # Three rows in batches of two: the second batch is filled up. One text is empty.
    calls = cudnn()
    keras.utils.set_random_seed(0)
    sizes = {"batch_size": 2, "bucket_lengths": [3, 5], "seed": 0}
    if kind == "classifier":
        model = build_classifier(encoder(), 2)
        batches = BucketedBatches([[4, 5, 6, 5, 7], [8], []], np.array([0, 1, 1]), **sizes)
        compile_classifier(model, keras.optimizers.Adam(0.01))
    else:
        model = tagger()
        ids = [[4, 5, 6, 5, 7], [8], [9, 9]]
        features = {
            "token_ids": ids,
            "char_ids": [[[2, 3, 0]] * len(row) for row in ids],
            "casing_ids": [[2] * len(row) for row in ids],
        }
        tags = [[0] * len(row) for row in ids]
        batches = BucketedBatches(features, token_labels=tags, **sizes)
        compile_tagger(model, keras.optimizers.Adam(0.01))
    history = train(model, batches, epochs=8, verbose=0)
    assert calls and history["loss"][-1] < history["loss"][0]


def test_left_padding_would_end_in_an_error(cudnn):
    # Keras' own check works here too: what the other tests pass is what cuDNN can take.
    cudnn()
    with pytest.raises(Exception, match="right-padded"):
        encoder().predict(np.array([[0, 0, 4, 5]], dtype=np.int32), verbose=0)
