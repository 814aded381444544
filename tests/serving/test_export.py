"""Keras models as ONNX graphs: the same numbers for every length, padded or alone; 8 bits; refusals."""

import zipfile

import numpy as np
import pytest
from tiny_models import classifier, make_random, sentences, summarizer, tagger, tagging_encoder

from course_lib.compression.quantization import quantize_graph
from course_lib.errors import CourseError, UsageError
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.models.summarizer import build_summarizer
from course_lib.serving.export import (
    check_parity,
    compress_words,
    load_model,
    to_onnx,
    transitions,
    word_vectors,
)
from course_lib.serving.network import Network, WordVectors
from course_lib.text import pad

LENGTHS = [1, 2, 3, 7, 19, 40]


def network_of(model, graph=None):
    words = compress_words(model)
    return Network((graph or to_onnx(model)).SerializeToString(), words)


def operators(graph):
    return {node.op_type for node in graph.graph.node}


def random_ids(lengths=LENGTHS, size=25):
    random = np.random.default_rng(4)
    return [random.integers(1, size, length) for length in lengths]


@pytest.mark.parametrize(
    "pooling, num_layers, num_classes", [("max", 1, 2), ("mean", 2, 3), ("max_mean", 1, 3)]
)
def test_a_classifier_gives_the_same_logits_padded_and_alone(pooling, num_layers, num_classes):
    model = classifier(pooling, num_layers, num_classes)
    network, rows = network_of(model), random_ids()
    expected = np.concatenate([model(row[None]) for row in rows])
    assert np.ptp(expected, axis=0).min() > 0.1
    np.testing.assert_allclose(network({"token_ids": pad(rows)}), expected, atol=1e-5)
    np.testing.assert_allclose(network({"token_ids": pad(rows, 77)}), expected, atol=1e-5)
    alone = np.concatenate([network({"token_ids": pad([row])}) for row in rows])
    np.testing.assert_allclose(alone, expected, atol=1e-5)


TAGGERS = {
    "all features, CRF": {},
    "words, softmax": {"output": "softmax", "num_characters": None, "casing": False},
    "casing, two layers, normalized": {
        "num_characters": None,
        "num_layers": 2,
        "layer_normalization": True,
        "dropout": 0.5,
        "word_dropout": 0.1,
    },
}


@pytest.mark.parametrize("options", TAGGERS.values(), ids=TAGGERS)
def test_a_tagger_gives_the_same_logits_padded_and_alone(options):
    encoder = tagging_encoder()
    model = tagger(encoder, **options)
    network = network_of(model)
    encoded = [encoder.encode(tokens) for tokens in sentences(6, seed=5)]
    features = {name: [row[name] for row in encoded] for name in model.input}
    in_batch = network({name: pad(rows) for name, rows in features.items()})
    for row in range(len(encoded)):
        alone = {name: rows[row][None] for name, rows in features.items()}
        expected = np.asarray(model(alone))[0]
        np.testing.assert_allclose(network(alone)[0], expected, atol=1e-5)
        np.testing.assert_allclose(in_batch[row, : len(expected)], expected, atol=1e-5)


def test_a_token_without_characters_and_a_single_character_are_like_in_keras():
    encoder = tagging_encoder()
    model = tagger(encoder)
    features = {
        "token_ids": np.array([[3, 4, 5]], np.int32),
        "char_ids": np.array([[[0, 0], [2, 0], [3, 4]]], np.int32),
        "casing_ids": np.array([[2, 3, 2]], np.int32),
    }
    np.testing.assert_allclose(network_of(model)(features), np.asarray(model(features)), atol=1e-5)


def test_a_summarizer_gives_the_same_scores_padded_and_alone():
    model = summarizer()
    network, random = network_of(model), np.random.default_rng(6)
    features = random.normal(1, 2, (4, 9, model.input.shape[-1])).astype(np.float32)
    for row, length in enumerate((1, 2, 5, 9)):
        features[row, length:] = 0
    expected = np.asarray(model(features))
    assert (expected[0, 1:] == -1e4).all()
    np.testing.assert_allclose(network({"features": features}), expected, atol=1e-5)
    for row, length in enumerate((1, 2, 5, 9)):
        alone = network({"features": features[row : row + 1, :length]})
        np.testing.assert_allclose(alone[0], expected[row, :length], atol=1e-5)


def test_parity_is_measured_on_batches_and_single_rows():
    model = classifier()
    network, batch = network_of(model), {"token_ids": pad(random_ids())}
    assert check_parity(model, network, [batch]) < 1e-5

    def wrong_alone(features):
        return network(features) + 2e-5 * (len(features["token_ids"]) == 1)

    def wrong_in_batches(features):
        return network(features) + 2e-5 * (len(features["token_ids"]) > 1)

    def not_a_number(features):
        return network(features) * np.nan

    for wrong in (wrong_alone, wrong_in_batches, not_a_number):
        with pytest.raises(CourseError, match=r"differs from its Keras model .* nothing was exported"):
            check_parity(model, wrong, [batch])


def test_a_wrong_logit_of_one_token_is_noticed_one_at_padding_is_not():
    encoder = tagging_encoder()
    model = tagger(encoder)
    network = network_of(model)
    encoded = [encoder.encode(tokens) for tokens in (["Anna", "is", "in", "Rome"], ["film"])]
    batch = {name: pad([row[name] for row in encoded]) for name in encoded[0]}

    def changed(row, step):
        def run(features):
            logits = network(features).copy()
            if len(logits) > row and logits.shape[1] > step:
                logits[row, step, 0] += 1
            return logits

        return run

    assert check_parity(model, changed(1, 2), [batch]) < 1e-5
    with pytest.raises(CourseError):
        check_parity(model, changed(0, 3), [batch])


def test_the_lstm_is_one_operator_and_int8_reaches_it():
    graph = to_onnx(classifier())
    assert "LSTM" in operators(graph) and not operators(graph) & {"Loop", "Scan"}
    small = quantize_graph(graph)
    assert "DynamicQuantizeLSTM" in operators(small) and "LSTM" not in operators(small)


def test_int8_is_smaller_and_close():
    encoder = build_encoder(25, embedding_dim=32, hidden_dim=32)
    model = make_random(build_classifier(encoder, 2), scale=0.2)
    graph = to_onnx(model)
    small, words = quantize_graph(graph), compress_words(model)
    assert len(small.SerializeToString()) < 0.5 * len(graph.SerializeToString())
    batch = {"token_ids": pad(random_ids())}
    exact, close = (Network(each.SerializeToString(), words)(batch) for each in (graph, small))
    assert 0 < np.abs(exact - close).max() < 0.1 * np.ptp(exact)


def test_word_vectors_are_rounded_to_the_nearest_of_255_steps():
    vectors = np.random.default_rng(7).normal(0, [0.1, 1, 30], (200, 3)).astype(np.float32)
    words = WordVectors.compress(vectors)
    assert words.values.dtype == np.int8
    np.testing.assert_allclose(words.scale, np.abs(vectors).max(axis=0) / 127, rtol=1e-6)
    found = words.look_up(np.array([[5, 0], [199, 5]]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, vectors[[[5, 0], [199, 5]]], atol=words.scale.max() / 2 * 1.001)
    assert np.all(np.abs(found - vectors[[[5, 0], [199, 5]]]) <= words.scale / 2 * 1.001)


def test_a_dimension_of_zeros_stays_one():
    assert (WordVectors.compress(np.zeros((3, 2), np.float32)).look_up(np.arange(3)) == 0).all()


def test_word_vectors_survive_their_file(tmp_path):
    words = WordVectors.compress(np.random.default_rng(8).normal(size=(9, 4)))
    words.save(tmp_path / "words.npz")
    for one, two in zip(WordVectors.load(tmp_path / "words.npz"), words, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype


def test_the_keras_model_gets_the_rounded_vectors():
    for model in (classifier(), tagger(tagging_encoder())):
        before = word_vectors(model)
        words = compress_words(model)
        after = word_vectors(model)
        assert not np.array_equal(before, after)
        np.testing.assert_array_equal(after, words.look_up(np.arange(len(after))))
    assert word_vectors(summarizer()) is compress_words(summarizer()) is None


def test_forbidden_transitions_come_along():
    encoder = tagging_encoder()
    scores = transitions(tagger(encoder))
    assert scores.shape == encoder.allowed.shape and (scores[~encoder.allowed] == -1e4).all()
    assert transitions(tagger(encoder, output="softmax")) is None


def test_what_cannot_be_exported_is_refused():
    with pytest.raises(UsageError, match="Unknown model to export 'encoder'"):
        to_onnx(build_encoder(5))
    with_words = build_summarizer(build_encoder(5), np.ones((2, 3)))
    with pytest.raises(CourseError, match="reads words"):
        to_onnx(with_words)


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_a_damaged_model_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(CourseError, match=r"model\.keras cannot be loaded .* run its notebook again"):
        load_model(path)


def test_a_model_file_with_a_damaged_part_is_refused_by_name(tmp_path):
    path = tmp_path / "model.keras"
    build_encoder(5).save(path)
    content = bytearray(path.read_bytes())
    start = zipfile.ZipFile(path).getinfo("config.json").header_offset
    content[start : start + 4] = bytes(4)  # the table of contents at the end is whole
    path.write_bytes(content)
    with pytest.raises(CourseError, match=r"model\.keras cannot be loaded .* run its notebook again"):
        load_model(path)
