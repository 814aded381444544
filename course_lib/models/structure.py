"""What holds for every model of this course: its layers by name, and a copy without the optimizer."""

import os
from pathlib import Path

import keras


def layers_by_name(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers of a model and of the models inside of it."""
    layers = {}
    for layer in model.layers:
        layers.update(layers_by_name(layer) if isinstance(layer, keras.Model) else {layer.name: layer})
    return layers


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
