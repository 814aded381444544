"""Pruning: single weights to zero, whole hidden units out of the network, and a kernel that skips zeros."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops
from scipy.sparse import csr_array
from scipy.special import expit

from course_lib.errors import UsageError, unknown_name
from course_lib.models.classifier import POOLINGS, build_classifier
from course_lib.models.encoder import build_encoder
from course_lib.models.structure import layers_by_name

SCOPES = ("layer", "global")
_PRUNED_NAMES = ("kernel", "recurrent_kernel", "embeddings")


def weights_to_prune(
    model: keras.Model, layer_names: Sequence[str] | None = None
) -> dict[str, keras.Variable]:
    """The matrices that pruning may set to zero, by path; never a bias, which costs little and shifts all.

    Args:
        model: any model; the layers of models inside of it count by their own names.
        layer_names: such as `bilstm_1`, `logits` or, only if named here, `token_embedding`; None takes all
            LSTM and dense layers.

    Raises:
        UsageError: a name that does not exist, or none of the layers has such a matrix.
    """
    layers = layers_by_name(model)
    for name in layer_names or ():
        if name not in layers:
            raise unknown_name("layer", name, layers)
    if layer_names is None:
        kinds = (keras.layers.Bidirectional, keras.layers.LSTM, keras.layers.Dense)
        layer_names = [name for name, layer in layers.items() if isinstance(layer, kinds)]
    found = [variable for name in layer_names for variable in layers[name].weights]
    weights = {variable.path: variable for variable in found if variable.name in _PRUNED_NAMES}
    if not weights:
        raise UsageError("None of these layers has a kernel to prune: name LSTM, dense or embedding layers.")
    return weights


def magnitude_masks(
    weights: Mapping[str, np.ndarray | keras.Variable], sparsity: float, scope: str = "layer"
) -> dict[str, np.ndarray]:
    """Which weights stay: False for the smallest magnitudes, of equal ones for the first.

    Args:
        weights: arrays of any shape, by name.
        sparsity: share that becomes zero, in [0, 1); the number of zeros is rounded to the nearest.
        scope: `layer` takes this share of each array, `global` of all together, wherever the smallest are.

    Returns:
        Boolean arrays of the weights' shapes, by name.

    Raises:
        UsageError: a sparsity outside [0, 1), or an unknown scope.

    Source: Han et al. 2015, "Learning both Weights and Connections", section 3; by layer and globally as in
    Blalock et al. 2020, "What is the State of Neural Network Pruning?", section 2.2.
    """
    _check_sparsity(sparsity)
    if scope not in SCOPES:
        raise unknown_name("scope", scope, SCOPES)
    magnitudes = {name: np.abs(ops.convert_to_numpy(values)) for name, values in weights.items()}
    if scope == "layer":
        return {
            name: _largest(values.ravel(), sparsity).reshape(values.shape)
            for name, values in magnitudes.items()
        }
    kept = _largest(np.concatenate([values.ravel() for values in magnitudes.values()]), sparsity)
    ends = np.cumsum([values.size for values in magnitudes.values()])
    parts = np.split(kept, ends[:-1])
    return {
        name: part.reshape(values.shape)
        for part, (name, values) in zip(parts, magnitudes.items(), strict=True)
    }


def _largest(magnitudes, sparsity):
    kept = np.ones(magnitudes.size, dtype=bool)
    # Stable: of equal magnitudes the first ones go, on every machine the same.
    kept[np.argsort(magnitudes, kind="stable")[: round(sparsity * magnitudes.size)]] = False
    return kept


def apply_masks(weights: Mapping[str, keras.Variable], masks: Mapping[str, np.ndarray]) -> None:
    """Sets the weights to zero, in place, where their mask is False."""
    for name, mask in masks.items():
        # Not a product with 0: of a negative weight it would be -0.0, whose bytes are not zero.
        weights[name].assign(ops.where(mask, weights[name], 0.0))


def _check_sparsity(sparsity: float) -> None:
    """Refuses a share of zeros outside [0, 1).

    Raises:
        UsageError: as said.
    """
    if not 0 <= sparsity < 1:
        raise UsageError(
            f"The sparsity is {sparsity}; it must be a share of zeros from 0 up to, but not including, 1."
        )


class CubicSchedule:
    """Share of zeros by training step: steep at first, where weights are plenty, and flat at the end.

    s(t) = s_f + (s_i − s_f) (1 − (t − t_0) / (t_n − t_0))³, renewed at t_0, t_0 + Δt, … and at t_n; s_i
    before t_0 and s_f after t_n.

    Args:
        sparsity: the final share s_f.
        first_step, last_step: t_0 and t_n, counted in steps of the optimizer.
        every: Δt, steps between two values.
        initial: the share s_i at the beginning.

    Raises:
        UsageError: a share outside [0, 1), an initial one above the final one, a schedule that ends before it
            begins, or `every` below 1.

    Source: Zhu & Gupta 2017, "To Prune, or Not to Prune", equation 1.
    """

    def __init__(
        self, sparsity: float, *, first_step: int, last_step: int, every: int = 1, initial: float = 0.0
    ):
        _check_sparsity(sparsity)
        _check_sparsity(initial)
        if initial > sparsity:
            raise UsageError(
                f"The schedule goes from {initial} down to {sparsity}, but pruned weights do not come back: "
                "begin at the final share or below it."
            )
        if not 0 <= first_step <= last_step:
            raise UsageError(
                f"The schedule begins at step {first_step} and ends at step {last_step}; it must begin at 0 "
                "or later and not end before it begins."
            )
        if every < 1:
            raise UsageError(f"every is {every}; there must be at least 1 step between two values.")
        self.sparsity, self.initial = sparsity, initial
        self.first_step, self.last_step, self.every = first_step, last_step, every

    def __call__(self, step: int) -> float:
        if step >= self.last_step:
            return self.sparsity
        if step < self.first_step:
            return self.initial
        step -= (step - self.first_step) % self.every
        left = 1 - (step - self.first_step) / (self.last_step - self.first_step)
        return self.sparsity + (self.initial - self.sparsity) * left**3


class PruningCallback(keras.callbacks.Callback):
    """Prunes while a model trains; its masks hold after every batch, so that the saved weights are zero.

    The gradient of a pruned weight is not zero and momentum goes on pushing it: without the masks it would be
    back after one step. The steps are the optimizer's, and zeros are the smallest magnitudes, so a resumed
    run finds the schedule and the masks where they were. Early stopping that returns to earlier weights
    returns to their share of zeros, too.

    Args:
        schedule: share of zeros by step.
        scope: as in `magnitude_masks`.
        layer_names: as in `weights_to_prune`.

    Raises (when training begins):
        UsageError: training would end before the schedule does; or as in `weights_to_prune`.
    """

    def __init__(
        self, schedule: CubicSchedule, *, scope: str = "layer", layer_names: Sequence[str] | None = None
    ):
        super().__init__()
        if scope not in SCOPES:
            raise unknown_name("scope", scope, SCOPES)
        self._schedule, self._scope, self._layer_names = schedule, scope, layer_names

    def on_train_begin(self, logs=None):
        self._weights = weights_to_prune(self.model, self._layer_names)
        self._sparsity, self._checked = 0.0, False
        self._prune()

    def on_epoch_begin(self, epoch, logs=None):
        if self._checked or self.params["steps"] is None:
            return
        end = self._step() + (self.params["epochs"] - epoch) * self.params["steps"]
        if end < self._schedule.last_step:
            raise UsageError(
                f"Training ends at step {end}, before the schedule's last step {self._schedule.last_step}: "
                "train longer or end the schedule earlier."
            )
        self._checked = True

    def on_train_batch_end(self, batch, logs=None):
        self._prune()

    def _step(self):
        return int(self.model.optimizer.iterations)

    def _prune(self):
        sparsity = self._schedule(self._step())
        if sparsity != self._sparsity:
            masks = magnitude_masks(self._weights, sparsity, self._scope)
            self._masks = {name: ops.convert_to_tensor(mask) for name, mask in masks.items()}
            self._sparsity = sparsity
        if self._sparsity:
            apply_masks(self._weights, self._masks)


def unit_importance(model: keras.Model) -> np.ndarray:
    """How much each hidden unit of a classifier can say and how much it hears, (2, hidden_dim).

    The importance is the product of two norms: of the weights into a unit's four gates, and of those that
    carry its state to the other units and to the head. A unit that hears nothing or that nobody hears is
    useless, and its product is zero. Row 0 is the forward direction, row 1 the backward one.

    Args:
        model: from `build_encoder` and `build_classifier`, with one BiLSTM layer.

    Raises:
        UsageError: another model.
    """
    parts = _classifier_parts(model)
    outgoing = _head_rows(parts)  # (num_poolings, 2, hidden_dim, num_classes)
    rows = []
    for direction, (kernel, recurrent_kernel, _) in enumerate(parts["lstms"]):
        hidden_dim = len(recurrent_kernel)
        incoming = np.concatenate([kernel, recurrent_kernel]).reshape(-1, 4, hidden_dim)
        heads = outgoing[:, direction].transpose(1, 0, 2).reshape(hidden_dim, -1)
        heard = np.linalg.norm(np.concatenate([recurrent_kernel, heads], axis=1), axis=1)
        rows.append(np.sqrt((incoming**2).sum(axis=(0, 1))) * heard)
    return np.stack(rows)


def remove_units(model: keras.Model, num_kept: int) -> keras.Model:
    """A smaller classifier: in each direction the most important hidden units, as `keep_units` keeps them.

    Args:
        model: as in `unit_importance`.
        num_kept: hidden units that stay in each direction.

    Raises:
        UsageError: another model, or not from 1 to hidden_dim units.
    """
    importance = unit_importance(model)
    hidden_dim = importance.shape[1]
    if not 1 <= num_kept <= hidden_dim:
        raise UsageError(
            f"num_kept is {num_kept}; the layer has {hidden_dim} units, so keep 1 to {hidden_dim}."
        )
    order = np.argsort(-importance, axis=1, kind="stable")
    return keep_units(model, np.sort(order[:, :num_kept], axis=1))


def keep_units(model: keras.Model, kept: np.ndarray) -> keras.Model:
    """A new classifier with some of the hidden units: the same as if the others' weights were all zero.

    A unit whose cell candidate hears nothing has the cell 0 and the state 0 at every step, so neither a mean
    nor a maximum over time gives the head anything.

    Args:
        model: as in `unit_importance`; it stays as it is.
        kept: unit numbers, int (2, num_kept): of the forward and of the backward direction.

    Raises:
        UsageError: another model, or numbers that are not distinct units of it.
    """
    parts = _classifier_parts(model)
    hidden_dim = len(parts["lstms"][0][1])
    try:
        kept = np.asarray(kept)
    except ValueError:  # rows of different lengths
        kept = np.empty(0)
    distinct = (
        np.issubdtype(kept.dtype, np.integer)
        and kept.ndim == 2
        and len(kept) == 2
        and all(0 < len(row) == len(set(row)) for row in kept.tolist())
    )
    if not distinct or kept.min() < 0 or kept.max() >= hidden_dim:
        raise UsageError(
            f"kept must hold two rows of equally many distinct unit numbers from 0 to {hidden_dim - 1}."
        )
    embedding, num_kept = parts["embedding"], kept.shape[1]
    encoder = build_encoder(
        embedding.input_dim,
        embedding_dim=embedding.output_dim,
        hidden_dim=num_kept,
        embedding_matrix=embedding.get_weights()[0],
        trainable_embeddings=embedding.trainable,
        dropout=parts["embedding_dropout"],
    )
    head, bias = _head_rows(parts), parts["bias"]
    smaller = build_classifier(encoder, len(bias), pooling=parts["pooling"], dropout=parts["head_dropout"])
    weights = []
    for units, (kernel, recurrent_kernel, lstm_bias) in zip(kept, parts["lstms"], strict=True):
        # Keras puts the four gates side by side: gate g of unit u is column g * hidden_dim + u.
        columns = (hidden_dim * np.arange(4)[:, None] + units).ravel()
        weights += [kernel[:, columns], recurrent_kernel[units][:, columns], lstm_bias[columns]]
    encoder.get_layer("bilstm_1").set_weights(weights)
    rows = np.stack([head[:, direction, units] for direction, units in enumerate(kept)], axis=1)
    smaller.get_layer("logits").set_weights([rows.reshape(-1, len(bias)), bias])
    return smaller


def _classifier_parts(model):
    layers = layers_by_name(model)
    bilstms = [layer for layer in layers.values() if isinstance(layer, keras.layers.Bidirectional)]
    pooling = [name for name, kind in POOLINGS.items() if type(layers.get("pooling")) is kind]
    if len(bilstms) != 1 or not pooling or not {"token_embedding", "bilstm_1", "logits"} <= set(layers):
        raise UsageError(
            "Units can be removed from a classifier with one BiLSTM layer, as build_encoder and "
            f"build_classifier make it; this model has {len(bilstms)} BiLSTM layers and the layers "
            f"{', '.join(layers)}."
        )
    weights = bilstms[0].get_weights()
    kernel, bias = layers["logits"].get_weights()
    return {
        "embedding": layers["token_embedding"],
        "lstms": [weights[:3], weights[3:]],
        "kernel": kernel,
        "bias": bias,
        "pooling": pooling[0],
        **{name: getattr(layers.get(name), "rate", 0.0) for name in ("embedding_dropout", "head_dropout")},
    }


def _head_rows(parts):
    """The head's kernel as (num_poolings, 2, hidden_dim, num_classes)."""
    hidden_dim = len(parts["lstms"][0][1])
    return parts["kernel"].reshape(-1, 2, hidden_dim, len(parts["bias"]))


def lstm_states(
    inputs: np.ndarray,
    kernel: np.ndarray | csr_array,
    recurrent_kernel: np.ndarray | csr_array,
    bias: np.ndarray,
) -> np.ndarray:
    """The states of one LSTM direction for one text; with `csr_array` matrices zeros cost nothing.

    Args:
        inputs: (time, features).
        kernel: (4 * hidden_dim, features), Keras's kernel transposed: a sparse matrix is fast row by row.
        recurrent_kernel: (4 * hidden_dim, hidden_dim), transposed likewise.
        bias: (4 * hidden_dim,).

    Returns:
        (time, hidden_dim).

    Source: Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000; gates in Keras's order.
    """
    hidden_dim = recurrent_kernel.shape[1]
    heard = (kernel @ inputs.T).T + bias  # (time, 4 * hidden_dim)
    state, cell = np.zeros(hidden_dim, heard.dtype), np.zeros(hidden_dim, heard.dtype)
    states = np.empty((len(inputs), hidden_dim), heard.dtype)
    for step, row in enumerate(heard):
        gates = (row + recurrent_kernel @ state).reshape(4, hidden_dim)
        enter, forget, output = expit(gates[[0, 1, 3]])
        cell = forget * cell + enter * np.tanh(gates[2])
        states[step] = state = output * np.tanh(cell)
    return states
