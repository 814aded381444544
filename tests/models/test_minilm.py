"""MiniLM against a BERT in NumPy with the same weights; padding changes nothing; known word pieces."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import softmax

from course_lib.data.fetch import fetch
from course_lib.errors import UsageError
from course_lib.models.classifier import build_classifier
from course_lib.models.minilm import build_minilm_encoder, minilm_ids
from course_lib.text import pad

TEXTS = ["A quiet film, and a very good one.", "Bad!", "Unbelievably uninteresting."]


@pytest.fixture(scope="module")
def encoder():
    return build_minilm_encoder()


def layer_norm(x, scale, shift):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * scale + shift


def bert_by_hand(ids):
    """One text's states (time, 384), following Devlin et al. 2019 and Vaswani et al. 2017."""
    folder = fetch("minilm")
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name):
        return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    heads = config["num_attention_heads"]
    for index in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{index}"
        query, key, value = (
            linear(x, f"{prefix}.attention.self.{part}").reshape(len(ids), heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = softmax(query @ key.swapaxes(1, 2) / np.sqrt(query.shape[-1]), axis=-1)
        attended = (scores @ value).swapaxes(0, 1).reshape(len(ids), -1)
        x = norm(
            x + linear(attended, f"{prefix}.attention.output.dense"), f"{prefix}.attention.output.LayerNorm"
        )
        inner = linear(x, f"{prefix}.intermediate.dense")
        # KerasHub takes the approximate GELU of Google's BERT; the exact one moves the states by 0.002.
        inner = inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3))) / 2
        x = norm(x + linear(inner, f"{prefix}.output.dense"), f"{prefix}.output.LayerNorm")
    return x


def test_states_are_those_of_bert_by_hand_whatever_the_padding(encoder):
    ids = minilm_ids(TEXTS, 64)
    states = encoder.predict(pad(ids), verbose=0)
    assert states.shape == (3, max(map(len, ids)), 384)
    for row, text_ids in zip(states, ids, strict=True):
        np.testing.assert_allclose(row[: len(text_ids)], bert_by_hand(text_ids), atol=1e-4)


def test_word_pieces():
    vocabulary = (fetch("minilm") / "vocab.txt").read_text(encoding="utf-8").splitlines()
    pieces = [[vocabulary[index] for index in ids] for ids in minilm_ids([*TEXTS[1:], ""], 64)]
    assert pieces == [
        ["[CLS]", "bad", "!", "[SEP]"],
        ["[CLS]", "un", "##bel", "##ie", "##va", "##bly", "un", "##int", "##eres", "##ting", ".", "[SEP]"],
        ["[CLS]", "[SEP]"],
    ]
    assert [vocabulary[index] for index in minilm_ids([TEXTS[0]], 5)[0]] == [
        "[CLS]",
        "a",
        "quiet",
        "film",
        "[SEP]",
    ]


def test_a_classifier_on_top_ignores_padding_and_can_be_saved(encoder, tmp_path):
    keras.utils.set_random_seed(0)
    model = build_classifier(encoder, 2, pooling="mean")
    ids = pad(minilm_ids(TEXTS, 64))
    logits = model.predict(ids, verbose=0)
    longer = model.predict(np.pad(ids, ((0, 0), (0, 9))), verbose=0)
    np.testing.assert_allclose(longer, logits, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").predict(ids, verbose=0)
    np.testing.assert_allclose(again, logits, atol=1e-6)


@pytest.mark.parametrize("max_length", [-1, 0, 1, 513])
def test_lengths_that_minilm_cannot_read(max_length):
    with pytest.raises(UsageError, match=f"max_length is {max_length}; it must be from 2 to 512"):
        minilm_ids(TEXTS, max_length)


def test_the_shortest_length_leaves_no_piece():
    assert [len(ids) for ids in minilm_ids(TEXTS, 2)] == [2] * len(TEXTS)
