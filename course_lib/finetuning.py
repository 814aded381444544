"""Fine-tuning: start from a pretrained encoder, freeze and unfreeze layers, one learning rate for each."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import pandas as pd

from course_lib.errors import CourseError, UsageError, unknown_name
from course_lib.models.structure import layers_by_name, save_model
from course_lib.text import TextEncoder

MODEL_FILE, ENCODER_FILE = "model.keras", "encoder.json"
_LOADED, _NEW, _LEFT_OUT, _DOES_NOT_FIT = "loaded", "new", "left out", "does not fit"


def save_pretrained(encoder: keras.Model, text_encoder: TextEncoder, folder: str | Path) -> None:
    """Writes an encoder and the text encoder whose ids it reads, for `load_pretrained`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(encoder, folder / MODEL_FILE)
    text_encoder.save(folder / ENCODER_FILE)


def load_pretrained(model: keras.Model, text_encoder: TextEncoder, folder: str | Path) -> pd.DataFrame:
    """Copies the weights of a saved encoder into the layers of the same names; all that fit, or none.

    Args:
        model: the encoder, or any model around it; layers that the file does not know, such as a new head,
            keep their weights.
        text_encoder: the one that makes the model's ids.
        folder: written by `save_pretrained`.

    Returns:
        The report, one row for each weight: layer, weight, pretrained shape, shape here, and `loaded`, `new`
        (only here) or `left out` (only in the file).

    Raises:
        CourseError: the folder holds no encoder or a damaged one; or a shape, a weight or the vocabulary does
            not fit: a table says what, and the model is as it was.
    """
    folder = Path(folder)
    if not (folder / MODEL_FILE).is_file():
        raise CourseError(
            f"There is no pretrained encoder in {folder}: run the notebook that makes it first."
        )
    try:
        saved = keras.saving.load_model(folder / MODEL_FILE, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise CourseError(
            f"The pretrained encoder in {folder} cannot be loaded ({reason}): run the notebook that makes it "
            "again."
        ) from error
    pretrained = _layers_with_weights(saved)
    layers = _layers_with_weights(model)
    rows = [
        row
        for name in {**pretrained, **layers}
        for row in _compare(name, pretrained.get(name), layers.get(name))
    ]
    report = pd.DataFrame(rows, columns=["layer", "weight", "pretrained", "here", "status"])
    problems = report[report["status"] == _DOES_NOT_FIT].to_dict("records")
    problems += _compare_vocabularies(TextEncoder.load(folder / ENCODER_FILE), text_encoder)
    if not problems and not set(pretrained) & set(layers):
        raise CourseError(
            f"No layer of the model has the name of a pretrained one ({', '.join(pretrained)}): "
            "nothing was loaded."
        )
    if problems:
        table = pd.DataFrame(problems)[["layer", "weight", "pretrained", "here"]].to_string(index=False)
        raise CourseError(
            f"The pretrained encoder in {folder} does not fit, and nothing was loaded. Build the model with "
            f"its sizes and read its {ENCODER_FILE} with TextEncoder.load. What differs:\n{table}"
        )
    for name in set(pretrained) & set(layers):
        layers[name].set_weights(pretrained[name].get_weights())
    return report


def _compare(name, pretrained, layer):
    there = [] if pretrained is None else pretrained.weights
    here = [] if layer is None else layer.weights
    for index in range(max(len(there), len(here))):
        source = tuple(there[index].shape) if index < len(there) else None
        target = tuple(here[index].shape) if index < len(here) else None
        if pretrained is None or layer is None:
            status = _NEW if pretrained is None else _LEFT_OUT
        else:
            status = _LOADED if source == target else _DOES_NOT_FIT
        weight = (here or there)[min(index, len(here or there) - 1)].path.split("/", 1)[-1]
        yield name, weight, source, target, status


def _compare_vocabularies(there, here):
    there, here = there.vocabulary.tokens, here.vocabulary.tokens
    if there == here:
        return []
    if len(there) != len(here):
        weight, there, here = "size", f"{len(there):,} tokens", f"{len(here):,} tokens"
    else:
        index = next(index for index in range(len(there)) if there[index] != here[index])
        weight, there, here = f"id {index}", repr(there[index]), repr(here[index])
    return [{"layer": "vocabulary", "weight": weight, "pretrained": there, "here": here}]


def train_only(model: keras.Model, layer_names: Sequence[str]) -> int:
    """Lets training change the named layers and freezes all others; compile the model again afterwards.

    Args:
        model: any model; the layers of models inside of it count by their own names.
        layer_names: layers with weights, such as `logits` or `bilstm_1`.

    Returns:
        The number of weights that training may change.

    Raises:
        UsageError: a layer of that name does not exist or has no weights.
    """
    layers = _layers_with_weights(model)
    _check_names(layer_names, layers)
    for name, layer in layers.items():
        layer.trainable = name in layer_names
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def layer_wise_optimizer(
    model: keras.Model,
    learning_rates: Mapping[str, float],
    make_optimizer: Callable[[float], keras.optimizers.Optimizer] = keras.optimizers.Adam,
) -> keras.optimizers.Optimizer:
    """One optimizer for each layer, so that each learns at its own rate.

    Args:
        model: any model; the layers of models inside of it count by their own names.
        learning_rates: for every layer with trainable weights.
        make_optimizer: from a learning rate to an optimizer.

    Raises:
        UsageError: a name that does not exist, a layer without a rate, or a rate that is not positive.

    Source: Howard & Ruder 2018, "Universal Language Model Fine-tuning", section 3.2.
    """
    layers = _layers_with_weights(model)
    _check_names(learning_rates, layers)
    missing = [
        name for name, layer in layers.items() if layer.trainable_variables and name not in learning_rates
    ]
    if missing:
        raise UsageError(
            f"These layers train but have no learning rate: {', '.join(missing)}. Freeze them or add them."
        )
    for name, rate in learning_rates.items():
        if not rate > 0:
            raise UsageError(
                f"The learning rate of {name} is {rate}; it must be positive. To stop a layer, freeze it."
            )
    layer_variables = {name: layers[name].trainable_variables for name in learning_rates}
    return _PartsOptimizer(
        (make_optimizer(learning_rates[name]), [variable.path for variable in variables])
        for name, variables in layer_variables.items()
        if variables
    )


class _PartsOptimizer(keras.optimizers.Optimizer):
    """An optimizer for each part of the variables; Keras 3.10, Colab's, has no `MultiOptimizer` yet."""

    def __init__(self, parts):
        """Takes pairs: an optimizer, and the paths of its variables."""
        super().__init__(learning_rate=0.0)  # read by nobody: each part has its own
        self._parts = tuple(parts)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        by_path = {variable.path: variable for variable in variables}
        for optimizer, paths in self._parts:
            optimizer.build([by_path[path] for path in paths])

    @property
    def variables(self):
        return super().variables + [each for optimizer, _ in self._parts for each in optimizer.variables]

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is None:
            trainable_variables = self._trainable_variables
        self.build(trainable_variables)
        by_path = {pair[1].path: pair for pair in zip(grads, trainable_variables, strict=True)}
        for optimizer, paths in self._parts:
            part_grads, part_variables = zip(*(by_path[path] for path in paths), strict=True)
            optimizer.apply(list(part_grads), list(part_variables))
        self.iterations.assign_add(1)


def _check_names(names, layers):
    for name in names:
        if name not in layers:
            raise unknown_name("layer", name, layers)


def _layers_with_weights(model):
    return {name: layer for name, layer in layers_by_name(model).items() if layer.weights}
