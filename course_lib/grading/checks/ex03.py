"""Checks of exercise 03: a BiLSTM in NumPy, its masks, its size."""

import numpy as np

from course_lib.grading.checks import Check, Exercise, WrongAnswer


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def num_lstm_parameters(embedding_dim, hidden_dim):
    return 4 * hidden_dim * (embedding_dim + hidden_dim + 1)


def lstm_step(x, hidden, cell, kernel, recurrent_kernel, bias):
    """One step with Keras's order of the gates: input, forget, cell candidate, output."""
    gates = x @ kernel + hidden @ recurrent_kernel + bias
    i, f, c, o = np.split(gates, 4)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
    return sigmoid(o) * np.tanh(cell), cell


def simple_step(x, hidden, kernel, recurrent_kernel, bias):
    return np.tanh(x @ kernel + hidden @ recurrent_kernel + bias)


def masked_states(inputs, mask, kernel, recurrent_kernel, bias):
    hidden, states = np.zeros(len(recurrent_kernel)), []
    for x, is_real in zip(inputs, mask, strict=True):
        if is_real:
            hidden = simple_step(x, hidden, kernel, recurrent_kernel, bias)
        states.append(hidden)
    return np.array(states)


def bidirectional(inputs, forward_weights, backward_weights):
    mask = np.ones(len(inputs), dtype=bool)
    forward = masked_states(inputs, mask, *forward_weights)
    backward = masked_states(inputs[::-1], mask, *backward_weights)[::-1]
    return np.concatenate([forward, backward], axis=1)


def masked_mean(states, mask):
    return states[mask].mean(axis=0) if mask.any() else np.zeros(states.shape[1])


def masked_max(states, mask):
    return states[mask].max(axis=0)


def _weights(random, embedding_dim, hidden_dim, num_gates=1):
    return (
        random.normal(size=(embedding_dim, num_gates * hidden_dim)),
        random.normal(size=(hidden_dim, num_gates * hidden_dim)),
        random.normal(size=num_gates * hidden_dim),
    )


def _sizes(random):
    return [(int(a), int(b)) for a, b in random.integers(2, 300, (4, 2))]


def _steps(random):
    return [
        (random.normal(size=3), random.normal(size=2), 3 * random.normal(size=2), *_weights(random, 3, 2, 4))
        for _ in range(3)
    ]


def _texts(random, masks):
    return [
        (random.normal(size=(len(mask), 3)), np.array(mask, dtype=bool), *_weights(random, 3, 2))
        for mask in masks
    ]


def _whole_texts(random):
    return _texts(random, [[1, 1, 1, 1, 1]])


def _padded_texts(random):
    return _texts(random, [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 1, 1]])


def _two_directions(random):
    return [(random.normal(size=(4, 3)), _weights(random, 3, 2), _weights(random, 3, 2)) for _ in range(2)]


def _pooled(random, mask):
    return [(random.normal(size=(len(mask), 3)), np.array(mask, dtype=bool))]


def _mean_padded(random):
    return _pooled(random, [1, 1, 0, 0, 0]) + _pooled(random, [1, 1, 1, 1, 0])


def _mean_empty(random):
    return _pooled(random, [0, 0, 0])


def _max_negative(random):
    (states, mask), *_ = _pooled(random, [1, 1, 0, 0])
    return [(-1 - np.abs(states), mask)]


def _max_positive(random):
    return _pooled(random, [1, 1, 1, 0])


CLOSE = 1e-6
EXERCISE = Exercise(
    checks=(
        Check(
            "q1",
            "lstm-parameters",
            2,
            "num_lstm_parameters(*args)",
            _sizes,
            num_lstm_parameters,
            "An LSTM has four parts (three gates and the candidate), each with a kernel, a recurrent kernel "
            "and one bias.",
            "03_building_the_bilstm#parameters-text",
        ),
        Check(
            "q2",
            "lstm-step",
            3,
            "lstm_step(*args)",
            _steps,
            lstm_step,
            "The four parts are input gate, forget gate, candidate, output gate, in this order; gates are "
            "sigmoids, the candidate is a tanh, and the old cell state is multiplied by the forget gate.",
            "03_building_the_bilstm#lstm-equations",
            CLOSE,
        ),
        Check(
            "q3",
            "states-whole",
            1,
            "masked_states(*args)",
            _whole_texts,
            masked_states,
            "Without padding, the states are those of one step after the other from a zero state.",
            "03_building_the_bilstm#recurrent-formula",
            CLOSE,
        ),
        Check(
            "q3",
            "states-padded",
            2,
            "masked_states(*args)",
            _padded_texts,
            masked_states,
            "At padding the state must stay as it is.",
            "03_building_the_bilstm#masks",
            CLOSE,
        ),
        Check(
            "q4",
            "both-directions",
            3,
            "bidirectional(*args)",
            _two_directions,
            bidirectional,
            "Row t holds what the forward cell knows after token t beside what the backward cell knows once "
            "it has come down to token t: the backward states must be turned round again.",
            "03_building_the_bilstm#backward",
            CLOSE,
        ),
        Check(
            "q5",
            "mean-padded",
            2,
            "masked_mean(*args)",
            _mean_padded,
            masked_mean,
            "Padding must count neither in the sum nor in the number that it is divided by.",
            "03_building_the_bilstm#padding-reading",
            CLOSE,
        ),
        Check(
            "q5",
            "mean-empty",
            1,
            "masked_mean(*args)",
            _mean_empty,
            masked_mean,
            "A text of padding alone has no mean; the answer is then zeros, not NaN.",
            "03_building_the_bilstm#masks",
            CLOSE,
        ),
        Check(
            "q6",
            "max-negative",
            1,
            "masked_max(*args)",
            _max_negative,
            masked_max,
            "If all real states are negative, so is the maximum: padding must not enter it as a zero.",
            "03_building_the_bilstm#padding-reading",
            CLOSE,
        ),
        Check(
            "q6",
            "max-positive",
            1,
            "masked_max(*args)",
            _max_positive,
            masked_max,
            "The maximum is taken over the time steps, for each feature alone.",
            "03_building_the_bilstm#masks",
            CLOSE,
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "one gate instead of four",
            "q1",
            "def num_lstm_parameters(embedding_dim, hidden_dim):\n"
            "    return hidden_dim * (embedding_dim + hidden_dim + 1)\n",
            "lstm-parameters",
        ),
        WrongAnswer(
            "bias forgotten",
            "q1",
            "def num_lstm_parameters(embedding_dim, hidden_dim):\n"
            "    return 4 * hidden_dim * (embedding_dim + hidden_dim)\n",
            "lstm-parameters",
        ),
        WrongAnswer(
            "simple recurrent cell taken for an LSTM",
            "q2",
            "def lstm_step(x, hidden, cell, kernel, recurrent_kernel, bias):\n"
            "    size = len(hidden)\n"
            "    hidden = np.tanh((x @ kernel + hidden @ recurrent_kernel + bias)[:size])\n"
            "    return hidden, cell\n",
            "lstm-step",
        ),
        WrongAnswer(
            "gates in the order of ONNX",
            "q2",
            "def lstm_step(x, hidden, cell, kernel, recurrent_kernel, bias):\n"
            "    i, o, f, c = np.split(x @ kernel + hidden @ recurrent_kernel + bias, 4)\n"
            "    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)\n"
            "    return sigmoid(o) * np.tanh(cell), cell\n",
            "lstm-step",
        ),
        WrongAnswer(
            "padding moves the state",
            "q3",
            "def masked_states(inputs, mask, kernel, recurrent_kernel, bias):\n"
            "    hidden, states = np.zeros(len(recurrent_kernel)), []\n"
            "    for x in inputs:\n"
            "        hidden = simple_step(x, hidden, kernel, recurrent_kernel, bias)\n"
            "        states.append(hidden)\n"
            "    return np.array(states)\n",
            "states-padded",
        ),
        WrongAnswer(
            "state at padding set to zero",
            "q3",
            "def masked_states(inputs, mask, kernel, recurrent_kernel, bias):\n"
            "    return all_states(inputs, kernel, recurrent_kernel, bias) * mask[:, None]\n",
            "states-padded",
        ),
        WrongAnswer(
            "backward states not turned round",
            "q4",
            "def bidirectional(inputs, forward_weights, backward_weights):\n"
            "    backward = all_states(inputs[::-1], *backward_weights)\n"
            "    return np.concatenate([all_states(inputs, *forward_weights), backward], axis=1)\n",
            "both-directions",
        ),
        WrongAnswer(
            "forward state only",
            "q4",
            "def bidirectional(inputs, forward_weights, backward_weights):\n"
            "    forward = all_states(inputs, *forward_weights)\n"
            "    return np.concatenate([forward, forward], axis=1)\n",
            "both-directions",
        ),
        WrongAnswer(
            "padding counted in the mean",
            "q5",
            "def masked_mean(states, mask):\n    return (states * mask[:, None]).mean(axis=0)\n",
            "mean-padded",
        ),
        WrongAnswer(
            "division by no token",
            "q5",
            "def masked_mean(states, mask):\n    return (states * mask[:, None]).sum(axis=0) / mask.sum()\n",
            "mean-empty",
        ),
        WrongAnswer(
            "padding enters the maximum as zero",
            "q6",
            "def masked_max(states, mask):\n    return (states * mask[:, None]).max(axis=0)\n",
            "max-negative",
        ),
        WrongAnswer(
            "maximum over the features",
            "q6",
            "def masked_max(states, mask):\n    return states[mask].max(axis=1)\n",
            "max-positive",
        ),
    ),
)
