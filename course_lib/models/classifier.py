"""Heads for whole texts, classes or a number: pool the encoder's states, then one dense layer."""

import keras

from course_lib.errors import UsageError, unknown_name
from course_lib.layers.pooling import MaskedMaxMeanPooling, MaskedMaxPooling, MaskedMeanPooling

POOLINGS = {"max": MaskedMaxPooling, "mean": MaskedMeanPooling, "max_mean": MaskedMaxMeanPooling}


def build_classifier(
    encoder: keras.Model, num_classes: int, *, pooling: str = "max", dropout: float = 0.0
) -> keras.Model:
    """Puts a classification head on an encoder.

    Args:
        encoder: model from (batch, time) to (batch, time, features), as `build_encoder` returns it.
        num_classes: number of classes.
        pooling: `max` or `mean` over the real tokens, or `max_mean`, both side by side.
        dropout: share of the pooled features that training drops.

    Returns:
        Model from int32 token ids (batch, time) to logits (batch, num_classes); softmax makes them
        probabilities.

    Raises:
        UsageError: an unknown pooling, or fewer than two classes.
    """
    if num_classes < 2:
        raise UsageError(f"num_classes is {num_classes}; a classifier needs at least 2, also for yes or no.")
    return _with_head(encoder, num_classes, pooling, dropout, output="logits", name="classifier")


def build_regressor(encoder: keras.Model, *, pooling: str = "max", dropout: float = 0.0) -> keras.Model:
    """Puts a head on an encoder that answers with one number for each text, such as a rating.

    Args:
        encoder, pooling, dropout: as in `build_classifier`.

    Returns:
        Model from int32 token ids (batch, time) to numbers (batch, 1) in the unit of the targets.

    Raises:
        UsageError: an unknown pooling.
    """
    return _with_head(encoder, 1, pooling, dropout, output="value", name="regressor")


def _with_head(encoder, num_outputs, pooling, dropout, *, output, name):
    if pooling not in POOLINGS:
        raise unknown_name("pooling", pooling, POOLINGS)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    states = encoder(token_ids)  # (batch, time, features)
    pooled = POOLINGS[pooling](name="pooling")(states)  # (batch, features), twice as many for max_mean
    if dropout:
        pooled = keras.layers.Dropout(dropout, name="head_dropout")(pooled)
    outputs = keras.layers.Dense(num_outputs, name=output)(pooled)  # (batch, num_outputs)
    return keras.Model(token_ids, outputs, name=name)
