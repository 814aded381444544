"""The transformer's ONNX graph answers as Keras does, on a small one with random weights."""

import keras
import keras_hub
import numpy as np
import onnx
import pytest

from course_lib.errors import UsageError
from course_lib.models import minilm
from course_lib.models.classifier import build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.serving.export import check_parity
from course_lib.serving.minilm_export import minilm_to_onnx
from course_lib.serving.network import Network
from course_lib.text import pad


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=40,
        num_layers=2,
        num_heads=3,
        hidden_dim=12,
        intermediate_dim=20,
        max_sequence_length=16,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minilm, "_pretrained_backbone", lambda: backbone)
        model = build_classifier(minilm.build_minilm_encoder(), 3, pooling="mean", dropout=0.1)
    random = np.random.default_rng(0)
    # Biases and normalizations start at 0 and 1: with those, a forgotten one would not show.
    model.set_weights([random.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    return model


def test_graph_equals_keras_whatever_the_length_and_padding(classifier):
    graph = minilm_to_onnx(classifier)
    network = Network(graph.SerializeToString())
    random = np.random.default_rng(1)
    batches = [
        {"token_ids": pad([random.integers(1, 40, length) for length in lengths])}
        for lengths in ([1], [16, 3, 9], [5, 5])
    ]
    assert check_parity(classifier, network, batches) < 1e-5
    assert network(batches[1]).shape == (3, 3)
    spread = np.ptp(network(batches[1]), axis=0)
    assert (spread > 0.01).all()  # the rows differ, so equality says something


def test_graph_is_as_large_as_the_weights_that_are_used(classifier):
    graph = minilm_to_onnx(classifier)
    backbone = classifier.get_layer("minilm").layers[1]
    unused = sum(weight.size for weight in backbone.get_layer("pooled_dense").get_weights())
    # The first segment's vector is added to the positions, so the table of segments is not stored.
    unused += 2 * 12
    stored = sum(np.prod(weight.dims) for weight in graph.graph.initializer if weight.data_type == 1)
    constants = 2 * 5 + 3  # five numbers in each layer's activation, three around mask and mean
    assert stored == classifier.count_params() - unused + constants
    assert all(node.domain == "" for node in graph.graph.node)
    onnx.checker.check_model(graph, full_check=True)


def test_other_models_are_refused():
    with pytest.raises(UsageError, match="MiniLM"):
        minilm_to_onnx(build_classifier(build_encoder(20, embedding_dim=4, hidden_dim=3), 2, pooling="mean"))
