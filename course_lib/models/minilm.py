"""MiniLM, a small pretrained BERT, as an encoder that fits the course's heads."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import keras_hub
from keras import ops
from safetensors.numpy import load_file, save_file

from course_lib.data.fetch import fetch
from course_lib.errors import UsageError


def build_minilm_encoder() -> keras.Model:
    """The pretrained transformer; word-piece ids in, one context vector for each of them out.

    Returns:
        Model from int32 (batch, time), as `minilm_ids` makes them, 0 for padding, to float32
        (batch, time, 384). Id 0 is masked, as in `build_encoder`, so that `build_classifier` takes either.

    Raises:
        CourseError: the weights cannot be fetched.

    Source: Wang et al. 2020, "MiniLM"; Devlin et al. 2019 for the architecture.
    """
    backbone = _pretrained_backbone()
    # Only BERT's own sentence vector goes through it, and no head here uses that.
    backbone.get_layer("pooled_dense").trainable = False
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    outputs = backbone(
        {
            "token_ids": token_ids,
            "segment_ids": ops.zeros_like(token_ids),
            "padding_mask": ops.not_equal(token_ids, 0),
        }
    )
    states = PaddingMask(name="padding_mask")([outputs["sequence_output"], token_ids])
    return keras.Model(token_ids, states, name="minilm")


def _pretrained_backbone():
    """From a copy whose weights are named as in BERT: an older KerasHub knows no other names."""
    published, arrays = fetch("minilm"), {}
    for name, array in load_file(published / "model.safetensors").items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        arrays[f"bert.{name}"] = array
    with tempfile.TemporaryDirectory() as folder:
        save_file(arrays, Path(folder, "model.safetensors"))
        shutil.copy(published / "config.json", folder)
        return keras_hub.models.BertBackbone.from_preset(folder)


@keras.saving.register_keras_serializable("course_lib")
class PaddingMask(keras.layers.Layer):
    """Hands states (batch, time, features) on, masked where the token ids (batch, time) are 0."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        states, _ = inputs
        return states

    def compute_mask(self, inputs, previous_mask=None):
        _, token_ids = inputs
        return ops.not_equal(token_ids, 0)

    def compute_output_shape(self, input_shape):
        return input_shape[0]


def minilm_ids(texts: Sequence[str], max_length: int) -> list[list[int]]:
    """The word-piece ids of each text between [CLS] and [SEP], at most `max_length` with these two.

    Raises:
        UsageError: `max_length` is not from 2 to 512, the places that MiniLM knows.
        CourseError: the vocabulary cannot be fetched.

    Source: Devlin et al. 2019, section 3; Wu et al. 2016 for word pieces.
    """
    if not 2 <= max_length <= 512:
        raise UsageError(f"max_length is {max_length}; it must be from 2 to 512, [CLS] and [SEP] included.")
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=str(fetch("minilm") / "vocab.txt"), lowercase=True)
    return [
        [tokenizer.cls_token_id, *map(int, ids[: max_length - 2]), tokenizer.sep_token_id]
        for ids in tokenizer(list(texts))
    ]
