"""What holds for every model of this course: its layers by name, and a copy without the optimizer."""

import os
from collections.abc import Iterator
from pathlib import Path

import keras

from course_lib.errors import UsageError


def layers_by_name(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers of a model and of the models inside of it, without their inputs.

    Where a name occurs twice, the layer with weights is meant.

    Raises:
        UsageError: two layers with weights have the same name.
    """
    layers = {}
    for layer in _leaves(model):
        before = layers.get(layer.name)
        if before is None or not before.weights:
            layers[layer.name] = layer
        elif layer.weights and layer is not before:
            raise UsageError(
                f"Two layers with weights are named {layer.name!r}: give each layer a name of its own."
            )
    return layers


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer


def copy_of(model: keras.Model) -> keras.Model:
    """The same layers and weights without the optimizer.

    A `.keras` file holds the optimizer's state whatever `save` is told: with Adam twice the weights again.
    """
    copy = model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def save_model(model: keras.Model, path: Path) -> None:
    """Writes `copy_of(model)` aside, then puts it in the file's place.

    Raises:
        OSError: the file cannot be written; the one that was there is untouched.
    """
    # Keras insists on the ending.
    aside = path.with_name(f"{path.stem}.{os.getpid()}.tmp.keras")
    try:
        copy_of(model).save(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
