"""What a network costs before it is built: parameters, FLOPs, bytes moved, memory for training.

All numbers are exact counts for float32, worked out from the shapes alone:

- **parameters**: the trained numbers of a layer; Keras's `count_params`.
- **FLOPs** of a forward pass: two for each multiply-add of a matrix product. What is done number by number
  (biases, gates, softmax, pooling) is left out: it grows with a layer's width, the products with its square.
- **bytes moved** by a forward pass between the arithmetic and a memory: each operand is read and each result
  written once for each operation. A weight counts as often as an operation reads it anew: those that work on
  all time steps at once count once, an LSTM's recurrent kernel counts at each time step.
- **activation bytes**: results of the forward pass that the backward pass reads again and so must be kept.
- **arithmetic intensity**: FLOPs for each byte moved. A machine that computes P FLOPs and moves M bytes a
  second waits for its memory wherever the intensity is below P / M.

Sources: Williams, Waterman & Patterson 2009, "Roofline", for the intensity; Kaplan et al. 2020, "Scaling Laws
for Neural Language Models", section 2.1 and table 1, for counting matrix products only; Kingma & Ba 2015,
"Adam", algorithm 1, for what the optimizer stores.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import NamedTuple

from course_lib.errors import UsageError

BYTES_PER_NUMBER = 4  # float32, and the int32 of a token id


class Cost(NamedTuple):
    """What one layer, or several together, cost; the module's text defines each figure.

    Attributes:
        parameters: trained numbers.
        flops: of one forward pass of the batch.
        bytes_moved: in one forward pass of the batch.
        activation_bytes: kept for the backward pass of the batch.
    """

    parameters: int
    flops: int
    bytes_moved: int
    activation_bytes: int

    @property
    def intensity(self) -> float:
        """FLOPs for each byte moved."""
        return self.flops / self.bytes_moved


class TrainingMemory(NamedTuple):
    """Bytes that one training step needs at its peak: each part is there at the end of the backward pass."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self)


def embedding_cost(vocabulary_size: int, embedding_dim: int, *, batch: int, time: int) -> Cost:
    """A table of token vectors, (batch, time) to (batch, time, embedding_dim).

    Parameters V·D. A look-up computes nothing, and of the table it reads only the rows of the batch: B·T ids
    and B·T·D numbers are read, B·T·D are written and kept.

    Raises:
        UsageError: a size is no whole number or below 1.
    """
    _check(vocabulary_size=vocabulary_size, embedding_dim=embedding_dim, batch=batch, time=time)
    vectors = batch * time * embedding_dim
    return Cost(
        parameters=vocabulary_size * embedding_dim,
        flops=0,
        bytes_moved=BYTES_PER_NUMBER * (batch * time + 2 * vectors),
        activation_bytes=BYTES_PER_NUMBER * vectors,
    )


def lstm_cost(input_dim: int, hidden_dim: int, *, batch: int, time: int, bidirectional: bool = False) -> Cost:
    """An LSTM, (batch, time, input_dim) to (batch, time, hidden_dim); both directions cost twice as much.

    With input size D and hidden size H, one direction has

    - parameters: 4 gates of a kernel D·H, a recurrent kernel H·H and a bias H: 4H(D + H + 1);
    - FLOPs: 2·B·T·4H(D + H);
    - numbers moved: kernel and bias once, 4H(D + 1), as the inputs of all steps are multiplied together; the
      recurrent kernel at each step, T·4H·H, as a step waits for the one before it; and for each text and step
      the input D, the gates' sums 4H written and read, the last state and cell read, the new ones written:
      B·T(D + 12H);
    - numbers kept: four gates, cell and state at each step: 6·B·T·H. The input is the layer's before.

    Raises:
        UsageError: a size is no whole number or below 1.

    Source: Hochreiter & Schmidhuber 1997; Appleyard et al. 2016, "Optimizing Performance of Recurrent Neural
    Networks on GPUs", for the input product of all steps at once.
    """
    _check(input_dim=input_dim, hidden_dim=hidden_dim, batch=batch, time=time)
    directions, steps, gates = 2 if bidirectional else 1, batch * time, 4 * hidden_dim
    weights_read = gates * (input_dim + 1) + time * gates * hidden_dim
    activations_moved = steps * (input_dim + 3 * gates)
    return Cost(
        parameters=directions * gates * (input_dim + hidden_dim + 1),
        flops=directions * 2 * steps * gates * (input_dim + hidden_dim),
        bytes_moved=directions * BYTES_PER_NUMBER * (weights_read + activations_moved),
        activation_bytes=directions * BYTES_PER_NUMBER * steps * (gates + 2 * hidden_dim),
    )


def self_attention_cost(model_dim: int, num_heads: int, *, batch: int, time: int) -> Cost:
    """Multi-head self-attention, (batch, time, model_dim) to the same shape, with biases.

    With model size M and h heads of size M / h:

    - parameters: queries, keys, values and output, M·M + M each: 4(M² + M);
    - FLOPs: 2·4·B·T·M² for these four products, 2·B·T²·M for the scores and as many for the weighted values;
    - numbers moved: the weights once; 12·B·T·M (queries, keys, values: three times an operand and a result;
      scores: two operands; weighted values: an operand and the result; output: both); and 4·B·h·T² (scores
      written, read and written by the softmax, read again);
    - numbers kept: queries, keys, values, weighted values and output, 5·B·T·M, and the softmax, B·h·T².

    Raises:
        UsageError: a size is no whole number or below 1, or the heads do not divide model_dim.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2 and table 1.
    """
    _check(model_dim=model_dim, num_heads=num_heads, batch=batch, time=time)
    if model_dim % num_heads:
        raise UsageError(f"model_dim is {model_dim}; {num_heads} heads must divide it without a remainder.")
    vectors, scores = batch * time * model_dim, batch * num_heads * time**2
    parameters = 4 * (model_dim**2 + model_dim)
    return Cost(
        parameters=parameters,
        flops=2 * (4 * vectors * model_dim + 2 * batch * time**2 * model_dim),
        bytes_moved=BYTES_PER_NUMBER * (parameters + 12 * vectors + 4 * scores),
        activation_bytes=BYTES_PER_NUMBER * (5 * vectors + scores),
    )


def dense_cost(input_dim: int, output_dim: int, *, rows: int) -> Cost:
    """A dense layer with bias, (rows, input_dim) to (rows, output_dim); rows are batch, or batch · time.

    Parameters I·O + O, FLOPs 2·R·I·O; weights and R·(I + O) numbers are moved, R·O are kept.

    Raises:
        UsageError: a size is no whole number or below 1.
    """
    _check(input_dim=input_dim, output_dim=output_dim, rows=rows)
    parameters = input_dim * output_dim + output_dim
    return Cost(
        parameters=parameters,
        flops=2 * rows * input_dim * output_dim,
        bytes_moved=BYTES_PER_NUMBER * (parameters + rows * (input_dim + output_dim)),
        activation_bytes=BYTES_PER_NUMBER * rows * output_dim,
    )


def max_pooling_cost(features: int, *, batch: int, time: int) -> Cost:
    """The maximum over time, (batch, time, features) to (batch, features): moves numbers, multiplies none.

    Raises:
        UsageError: a size is no whole number or below 1.
    """
    _check(features=features, batch=batch, time=time)
    return Cost(
        parameters=0,
        flops=0,
        bytes_moved=BYTES_PER_NUMBER * batch * (time + 1) * features,
        activation_bytes=BYTES_PER_NUMBER * batch * features,
    )


def classifier_costs(
    vocabulary_size: int,
    *,
    embedding_dim: int,
    hidden_dim: int,
    num_layers: int = 1,
    num_classes: int = 2,
    batch: int,
    time: int,
) -> dict[str, Cost]:
    """The layers of `build_classifier(build_encoder(...), num_classes, pooling="max")`, by name, in order.

    The first BiLSTM reads embedding_dim numbers at each step, a later one the 2 · hidden_dim of the layer
    below it. `total_cost` adds them up.

    Raises:
        UsageError: a size is no whole number or below 1.
    """
    _check(num_layers=num_layers)
    costs = {"embedding": embedding_cost(vocabulary_size, embedding_dim, batch=batch, time=time)}
    input_dim = embedding_dim
    for layer in range(1, num_layers + 1):
        costs[f"bilstm_{layer}"] = lstm_cost(
            input_dim, hidden_dim, batch=batch, time=time, bidirectional=True
        )
        input_dim = 2 * hidden_dim
    costs["pooling"] = max_pooling_cost(input_dim, batch=batch, time=time)
    costs["logits"] = dense_cost(input_dim, num_classes, rows=batch)
    return costs


def total_cost(costs: Iterable[Cost]) -> Cost:
    """The sum of several layers' costs; each figure of the result is a plain sum.

    Raises:
        UsageError: there is no layer.
    """
    costs = list(costs)
    if not costs:
        raise UsageError("There is no layer to add up: pass the cost of at least one.")
    return Cost(*(sum(figure) for figure in zip(*costs, strict=True)))


def training_memory(cost: Cost) -> TrainingMemory:
    """What a training step with Adam holds: weights, their gradients, Adam's two averages, activations.

    Each of the four copies has 4 bytes for a parameter; the activations are those of the batch that `cost`
    was counted for. The framework itself and its scratch space come on top.

    Source: Kingma & Ba 2015, algorithm 1: the averages m and v have the shape of the weights; Rajbhandari et
    al. 2020, "ZeRO", section 3, for the parts of a training step's memory.
    """
    weights = BYTES_PER_NUMBER * cost.parameters
    return TrainingMemory(weights, weights, 2 * weights, cost.activation_bytes)


def _check(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, numbers.Integral) or size < 1:
            raise UsageError(f"{name} is {size!r}; it must be a whole number of at least 1.")
