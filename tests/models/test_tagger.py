"""`build_tagger`: padding, inputs, parameters, training, resuming, saving, errors."""

import keras
import numpy as np
import pytest
from keras import ops

from course_lib.errors import UsageError
from course_lib.layers.crf import CRFLoss
from course_lib.models.tagger import CASING_DIM, build_tagger
from course_lib.text import Vocabulary, pad
from course_lib.text.batches import BucketedBatches
from course_lib.text.features import CASING_VOCABULARY, TaggingEncoder
from course_lib.training import compile_tagger, predict_tokens, train

TAGS = ["O", "B-PER", "I-PER"]
SENTENCES = [
    ["Anna", "Lee", "met", "Bo", "."],
    ["He", "met", "Bo", "Li"],
    ["Rain", "."],
    ["Anna", "met", "Lee"],
]
LABELS = [[1, 2, 0, 1, 0], [0, 0, 1, 2], [0, 0], [1, 0, 1]]
outputs_of = pytest.mark.parametrize("output", ["softmax", "crf"])


@pytest.fixture(scope="module")
def encoder():
    words = Vocabulary.build([token.lower() for token in sentence] for sentence in SENTENCES)
    characters = Vocabulary.build(token for sentence in SENTENCES for token in sentence)
    return TaggingEncoder(words, characters, TAGS, "BIO", max_chars=6)


def tagger(encoder, output="crf", **options):
    keras.utils.set_random_seed(0)
    sizes = {"embedding_dim": 5, "hidden_dim": 4, "num_char_filters": 3}
    features = {"num_characters": len(encoder.characters), "casing": True, "allowed": encoder.allowed}
    return build_tagger(len(encoder.words), 3, output=output, **{**sizes, **features, **options})


def batches(encoder, **options):
    features = encoder.encode_sentences(SENTENCES)
    return BucketedBatches(
        features, token_labels=LABELS, **{"batch_size": 3, "bucket_lengths": [3, 6], "seed": 0, **options}
    )


def padded(encoder, sentences, length):
    return {name: pad(values, length) for name, values in encoder.encode_sentences(sentences).items()}


@outputs_of
@pytest.mark.parametrize("layer_normalization", [False, True])
def test_logits_do_not_feel_padding(encoder, output, layer_normalization):
    model = tagger(encoder, output, num_layers=2, layer_normalization=layer_normalization, dropout=0.3)
    wide = ops.convert_to_numpy(model(padded(encoder, SENTENCES, 11)))
    assert wide.shape == (4, 11, 3)
    for row, sentence in enumerate(SENTENCES):
        alone = ops.convert_to_numpy(model(padded(encoder, [sentence], None)))[0]
        np.testing.assert_allclose(wide[row, : len(sentence)], alone, atol=1e-6)


def test_predicted_tokens_come_in_the_order_of_the_sentences(encoder):
    model, features = tagger(encoder), encoder.encode_sentences(SENTENCES)
    logits = predict_tokens(model, features, batch_size=3, bucket_lengths=[2, 4, 8])
    for sentence, rows in zip(SENTENCES, logits, strict=True):
        alone = ops.convert_to_numpy(model(padded(encoder, [sentence], None)))[0]
        np.testing.assert_allclose(rows, alone, atol=1e-6)


def test_number_of_parameters(encoder):
    num_words, num_characters = len(encoder.words), len(encoder.characters)
    features = 5 + 3 + CASING_DIM
    by_hand = num_words * 5 + num_characters * 30 + (3 * 30 * 3 + 3) + len(CASING_VOCABULARY) * CASING_DIM
    by_hand += 2 * 4 * (features * 4 + 4 * 4 + 4) + (8 * 3 + 3)
    assert tagger(encoder, "softmax").count_params() == by_hand
    assert tagger(encoder, "crf").count_params() == by_hand + 4 * 4


def test_words_alone_need_no_other_input():
    model = build_tagger(20, 3, embedding_dim=4, hidden_dim=2)
    assert [tensor.name for tensor in model.inputs] == ["token_ids"]


@outputs_of
def test_a_step_of_training_moves_every_weight(encoder, output):
    model = tagger(encoder, output, dropout=0.2, word_dropout=0.1, layer_normalization=True)
    compile_tagger(model, keras.optimizers.SGD(1.0))
    before = {weight.path: ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights}
    inputs, labels, weights = batches(encoder, batch_size=4, bucket_lengths=[5])[0]
    model.train_on_batch(inputs, labels, sample_weight=weights)
    for weight in model.trainable_weights:
        assert np.abs(ops.convert_to_numpy(weight) - before[weight.path]).max() > 0, weight.path
    assert ("crf/transitions" in before) == (output == "crf")


def test_the_softmax_loss_is_the_mean_over_tokens_and_leaves_padding_out(encoder):
    model = tagger(encoder, "softmax")
    compile_tagger(model, keras.optimizers.SGD(0.0))
    inputs, labels, weights = batches(encoder, batch_size=6, bucket_lengths=[9])[0]
    logits = ops.convert_to_numpy(model(inputs)).astype("float64")
    real = labels >= 0
    chosen = np.take_along_axis(logits, np.maximum(labels, 0)[..., None], -1)[..., 0]
    by_hand = (
        (np.log(np.exp(logits).sum(-1)) - chosen)[real].mean() * 6 / 4
    )  # two rows of six are filled ones
    assert model.test_on_batch(inputs, labels, sample_weight=weights) == pytest.approx(by_hand, rel=1e-4)


# Without XLA the JAX backend would run operation by operation.
@pytest.mark.parametrize("jit_compile", sorted({True, keras.backend.backend() == "jax"}))
def test_learns_the_example_by_heart(encoder, jit_compile):
    model = tagger(encoder)
    compile_tagger(model, keras.optimizers.Adam(0.05))
    model.compile(optimizer=model.optimizer, loss=model.loss, jit_compile=jit_compile)
    train(model, batches(encoder, batch_size=4, bucket_lengths=[5]), epochs=40, verbose=0)
    inputs = padded(encoder, SENTENCES, 5)
    tags, _ = model.get_layer("crf").viterbi(model(inputs), inputs["token_ids"] != 0)
    for row, labels in zip(ops.convert_to_numpy(tags), LABELS, strict=True):
        assert row[: len(labels)].tolist() == labels


def test_a_resumed_run_ends_as_the_whole_one(encoder, tmp_path):
    weights = []
    for folder, stops in (("whole", [4]), ("halves", [2, 4])):
        for epochs in stops:
            model = tagger(encoder, dropout=0.2, word_dropout=0.2)
            compile_tagger(model, keras.optimizers.Nadam(0.01))
            train(
                model,
                batches(encoder),
                batches(encoder, seed=None),
                epochs=epochs,
                checkpoint_dir=tmp_path / folder,
                verbose=0,
            )
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, two)


@outputs_of
def test_a_saved_tagger_answers_the_same(encoder, output, tmp_path):
    model = tagger(encoder, output, word_dropout=0.1, dropout=0.1)
    compile_tagger(model, keras.optimizers.SGD(0.1))
    train(model, batches(encoder), epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inputs = padded(encoder, SENTENCES, 7)
    np.testing.assert_allclose(
        ops.convert_to_numpy(loaded(inputs)), ops.convert_to_numpy(model(inputs)), atol=1e-6
    )
    compile_tagger(loaded, keras.optimizers.SGD(0.1))
    assert isinstance(loaded.loss, CRFLoss) == (output == "crf")
    train(loaded, batches(encoder), epochs=1, verbose=0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"output": "crff"}, "Did you mean 'crf'"),
        ({"num_tags": 1}, "1 tags"),
        ({"num_layers": 0}, "0 layers"),
        ({"embedding_matrix": np.zeros((9, 50))}, r"\(9, 50\).*\(10, 50\)"),
    ],
)
def test_wrong_use_is_one_clear_sentence(options, message):
    with pytest.raises(UsageError, match=message):
        build_tagger(**{"vocabulary_size": 10, "num_tags": 3, **options})
