"""What holds for every model of this course: its layers by name, and a copy without the optimizer."""

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
