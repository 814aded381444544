"""Checks of exercise 15: masks, the cubic schedule, units of an LSTM, zeros in word vectors."""

import functools

import numpy as np
from scipy.sparse import csr_array

from course_lib.data import load_glove_6b_50d, load_word_pairs
from course_lib.grading.checks import Check, Exercise, WrongAnswer

SHARES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def csr_bytes(matrix):
    sparse = csr_array(matrix.astype(np.float32))
    return int(sparse.data.nbytes + sparse.indices.nbytes + sparse.indptr.nbytes)


def magnitude_mask(weights, num_zeros):
    """One weight after the other, as in the lesson's loop."""
    left, mask = np.abs(weights).astype(float), np.ones(weights.shape, dtype=bool)
    for _ in range(num_zeros):
        place = np.unravel_index(left.argmin(), left.shape)  # the first of equal ones
        left[place], mask[place] = np.inf, False
    return mask


def global_masks(weights, num_zeros):
    every = np.concatenate([values.ravel() for values in weights.values()])
    kept = magnitude_mask(every, num_zeros)
    parts = np.split(kept, np.cumsum([values.size for values in weights.values()])[:-1])
    pairs = zip(weights.items(), parts, strict=True)
    return {name: part.reshape(values.shape) for (name, values), part in pairs}


def share_of_zeros(step, first_step, last_step, final, initial):
    if step <= first_step:
        return initial
    left = max(last_step - step, 0) / (last_step - first_step)
    return final - (final - initial) * left**3


def train_pruned(weights, mask, velocity, inputs, targets, num_steps):
    weights, velocity = weights.copy(), velocity.copy()
    for _ in range(num_steps):
        errors = np.array([row @ weights - target for row, target in zip(inputs, targets, strict=True)])
        velocity = 0.9 * velocity - 0.1 * np.mean(2 * errors[:, None] * inputs, axis=0)
        weights += velocity
        weights[~mask] = 0
    return weights


def keep_units(kernel, recurrent_kernel, bias, head, kept):
    def smaller(values):
        by_gate = values.reshape(*values.shape[:-1], 4, -1)
        return by_gate[..., kept].reshape(*values.shape[:-1], -1)

    return smaller(kernel), smaller(recurrent_kernel[kept]), smaller(bias), head[kept]


@functools.cache
def _rated_vectors():
    names, published = load_glove_6b_50d()
    place = {word: index for index, word in enumerate(names)}
    rated = [
        (first.lower(), second.lower(), rating) for first, second, rating in load_word_pairs("wordsim353")
    ]
    words = sorted({word for first, second, _ in rated for word in (first, second) if word in place})
    rated = [entry for entry in rated if entry[0] in place and entry[1] in place]
    pairs = np.array([[words.index(first), words.index(second)] for first, second, _ in rated])
    vectors = np.array([published[place[word]] for word in words], dtype=float)
    return vectors, pairs, np.array([rating for *_, rating in rated])


def _correlation(vectors, chosen):
    _, pairs, ratings = _rated_vectors()
    cosines = []
    for first, second in pairs[chosen]:
        lengths = np.linalg.norm(vectors[first]) * np.linalg.norm(vectors[second])
        cosines.append(vectors[first] @ vectors[second] / max(lengths, 1e-18))
    return float(np.corrcoef(cosines, ratings[chosen])[0, 1])


def choose_share(chosen, max_loss):
    vectors, *_ = _rated_vectors()
    unpruned, best = _correlation(vectors, chosen), (0.0, 0.0)
    for share in SHARES:
        small = np.abs(vectors) < np.quantile(np.abs(vectors), share)
        loss = unpruned - _correlation(np.where(small, 0, vectors), chosen)
        best = (share, loss) if loss <= max_loss else best
    return best


def _matrices(random):
    cases = []
    for shape, share in (((4, 6), 0.7), ((9, 3), 0.5), ((3, 20), 0.9), ((2, 2), 1.0)):
        cases.append((random.normal(size=shape) * (random.random(shape) >= share),))
    return cases


def _weights(random):
    cases = []
    for shape, num_zeros in (((3, 4), 6), ((5, 2), 3), ((4, 6), 20), ((2, 3), 0)):
        cases.append((random.normal(size=shape).round(3), num_zeros))
    return cases


def _equal_weights(random):
    sign = random.choice([-1.0, 1.0], (3, 4))
    few = random.choice([0.1, 0.2, 0.3], (4, 5)) * random.choice([-1, 1], (4, 5))
    return [(0.5 * sign, 5), (few, 7), (few.T, 13)]


def _layers(random):
    """Layers whose weights are of very different size."""
    cases = []
    for num_zeros in (5, 12, 20):
        layers = {"kernel": (1.0, (3, 4)), "recurrent": (0.1, (2, 6)), "head": (0.4, (5,))}
        cases.append(
            ({name: scale * random.normal(size=shape) for name, (scale, shape) in layers.items()}, num_zeros)
        )
    return cases


def _steps(random):
    first, length = int(random.integers(0, 50)), int(random.integers(40, 100))
    places = [first + 1, *random.integers(first + 2, first + length, 3).tolist(), first + length]
    final = round(float(random.uniform(0.6, 0.95)), 2)
    initial = round(float(random.uniform(0, 0.3)), 2)
    return [(int(step), first, first + length, final, initial) for step in places]


def _outer_steps(random):
    first, last = int(random.integers(20, 40)), int(random.integers(60, 90))
    return [(step, first, last, 0.8, 0.2) for step in (0, first - 5, first, last + 1, 3 * last)]


def _training(random, num_steps):
    mask = np.array([True, False, True, True, False])
    random.shuffle(mask)
    inputs = random.normal(size=(8, 5)).round(2)
    targets = (inputs @ random.normal(0, 2, 5)).round(2)
    weights = np.where(mask, random.normal(size=5).round(2), 0.0)
    return weights, mask, random.normal(0, 0.2, 5).round(3), inputs, targets, num_steps


def _first_steps(random):
    return [_training(random, 1), _training(random, 1)]


def _many_steps(random):
    return [_training(random, num_steps) for num_steps in (2, 5, 12)]


def _lstms(random):
    cases = []
    for embedding_dim, hidden_dim, kept in ((2, 3, [0, 2]), (3, 4, [1, 2, 3]), (2, 5, [4, 1])):
        shapes = (embedding_dim, 4 * hidden_dim), (hidden_dim, 4 * hidden_dim), (4 * hidden_dim,)
        arrays = [random.normal(size=shape).round(3) for shape in (*shapes, (hidden_dim, 2))]
        cases.append((*arrays, kept))
    return cases


def _validation_pairs(random):
    num_pairs = len(_rated_vectors()[1])
    return [
        (np.sort(random.choice(num_pairs, 120, replace=False)), max_loss) for max_loss in (0.02, 0.05, 0.1)
    ]


CLOSE = 1e-6
EXERCISE = Exercise(
    datasets=("glove_6b_50d", "word_similarity"),
    checks=(
        Check(
            "q1",
            "csr-bytes",
            2,
            "csr_bytes(*args)",
            _matrices,
            csr_bytes,
            "CSR stores a value and a column for each number that is not zero, and where each row begins, "
            "with one more entry for the end: four bytes each.",
            "15_pruning#bytes-why",
        ),
        Check(
            "q2",
            "mask-magnitude",
            2,
            "magnitude_mask(*args)",
            _weights,
            magnitude_mask,
            "What counts is the absolute value, among all weights of the array: a large negative weight is "
            "no small one.",
            "15_pruning#hand-array",
        ),
        Check(
            "q2",
            "mask-ties",
            1,
            "magnitude_mask(*args)",
            _equal_weights,
            magnitude_mask,
            "A threshold cannot part equal magnitudes: the number of zeros is exact, and the first ones go.",
            "15_pruning#hand-array-text",
        ),
        Check(
            "q3",
            "masks-global",
            3,
            "global_masks(*args)",
            _layers,
            global_masks,
            "Globally, the smallest weights of all arrays together go: an array of small weights may lose "
            "nearly all of them.",
            "15_pruning#scopes-run",
        ),
        Check(
            "q4",
            "schedule-within",
            1,
            "share_of_zeros(*args)",
            _steps,
            share_of_zeros,
            "The distance to the final share falls with the cube of the time that is left, so the curve is "
            "steep at first.",
            "15_pruning#gradual-formula",
            CLOSE,
        ),
        Check(
            "q4",
            "schedule-outside",
            1,
            "share_of_zeros(*args)",
            _outer_steps,
            share_of_zeros,
            "Before the first step the share is the initial one, after the last step the final one.",
            "15_pruning#gradual-formula",
            CLOSE,
        ),
        Check(
            "q5",
            "one-masked-step",
            1,
            "train_pruned(*args)",
            _first_steps,
            train_pruned,
            "A pruned weight has a gradient and a velocity like any other; mask the weight itself, after the "
            "step.",
            "15_pruning#revive-reading",
            CLOSE,
        ),
        Check(
            "q5",
            "masked-steps",
            1,
            "train_pruned(*args)",
            _many_steps,
            train_pruned,
            "The mask holds after every step: the next gradient is taken at the pruned weights.",
            "15_pruning#revive-reading",
            CLOSE,
        ),
        Check(
            "q5",
            "arrays-untouched",
            1,
            "(train_pruned(*args), args[0], args[2])[1:]",
            _many_steps,
            lambda weights, mask, velocity, *_: (weights, velocity),
            "The arrays that were passed in must still hold their old values afterwards.",
            "15_pruning#revive-reading",
        ),
        Check(
            "q6",
            "units-kept",
            3,
            "keep_units(*args)",
            _lstms,
            keep_units,
            "A unit owns one column in each of the four gates, `hidden_dim` apart, one row of the recurrent "
            "kernel and one of the head.",
            "15_pruning#unit-toy",
        ),
        Check(
            "q7",
            "share-chosen",
            3,
            "choose_share(word_vectors, pairs[args[0]], ratings[args[0]], "
            "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], args[1])[0]",
            _validation_pairs,
            lambda chosen, max_loss: choose_share(chosen, max_loss)[0],
            "Wanted are as many zeros as the loss allows, not the highest correlation; the loss is measured "
            "against the unpruned vectors, on the same pairs.",
            "15_pruning#vectors-pruned",
            CLOSE,
        ),
        Check(
            "q7",
            "share-loss",
            1,
            "choose_share(word_vectors, pairs[args[0]], ratings[args[0]], "
            "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], args[1])[1]",
            _validation_pairs,
            lambda chosen, max_loss: choose_share(chosen, max_loss)[1],
            "The second value is the loss of the chosen share: unpruned minus pruned, on the given pairs.",
            "15_pruning#vectors-pruned",
            CLOSE,
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "positions forgotten",
            "q1",
            "def csr_bytes(matrix):\n    return int(4 * np.count_nonzero(matrix))\n",
            "csr-bytes",
        ),
        WrongAnswer(
            "signed weights instead of magnitudes",
            "q2",
            "def magnitude_mask(weights, num_zeros):\n"
            "    mask = np.ones(weights.size, dtype=bool)\n"
            '    mask[np.argsort(weights, axis=None, kind="stable")[:num_zeros]] = False\n'
            "    return mask.reshape(weights.shape)\n",
            "mask-magnitude",
        ),
        WrongAnswer(
            "threshold that equal magnitudes share",
            "q2",
            "def magnitude_mask(weights, num_zeros):\n"
            "    if num_zeros == 0:\n"
            "        return np.ones(weights.shape, dtype=bool)\n"
            "    return np.abs(weights) > np.sort(np.abs(weights), axis=None)[num_zeros - 1]\n",
            "mask-ties",
        ),
        WrongAnswer(
            "the same share of every layer",
            "q3",
            "def global_masks(weights, num_zeros):\n"
            "    share = num_zeros / sum(values.size for values in weights.values())\n"
            "    return {\n"
            "        name: np.abs(values) > np.quantile(np.abs(values), share)\n"
            "        for name, values in weights.items()\n"
            "    }\n",
            "masks-global",
        ),
        WrongAnswer(
            "magnitudes compared within their layer's scale",
            "q3",
            "def global_masks(weights, num_zeros):\n"
            "    sizes = {name: np.abs(values) / np.abs(values).max() for name, values in weights.items()}\n"
            "    smallest = np.sort(np.concatenate([part.ravel() for part in sizes.values()]))[:num_zeros]\n"
            "    return {name: ~np.isin(part, smallest) for name, part in sizes.items()}\n",
            "masks-global",
        ),
        WrongAnswer(
            "flat at first, steep at the end",
            "q4",
            "def share_of_zeros(step, first_step, last_step, final, initial=0.0):\n"
            "    progress = min(max((step - first_step) / (last_step - first_step), 0.0), 1.0)\n"
            "    return initial + (final - initial) * progress**3\n",
            "schedule-within",
        ),
        WrongAnswer(
            "curve goes on beyond its ends",
            "q4",
            "def share_of_zeros(step, first_step, last_step, final, initial=0.0):\n"
            "    left = 1 - (step - first_step) / (last_step - first_step)\n"
            "    return final + (initial - final) * left**3\n",
            "schedule-outside",
        ),
        WrongAnswer(
            "pruned once, then trained on",
            "q5",
            "def train_pruned(weights, mask, velocity, inputs, targets, num_steps):\n"
            "    weights = np.where(mask, weights, 0.0)\n"
            "    for _ in range(num_steps):\n"
            "        gradient = 2 / len(inputs) * inputs.T @ (inputs @ weights - targets)\n"
            "        velocity = 0.9 * velocity - 0.1 * gradient\n"
            "        weights = weights + velocity\n"
            "    return weights\n",
            "one-masked-step",
        ),
        WrongAnswer(
            "only the gradient masked",
            "q5",
            "def train_pruned(weights, mask, velocity, inputs, targets, num_steps):\n"
            "    for _ in range(num_steps):\n"
            "        gradient = 2 / len(inputs) * inputs.T @ (inputs @ weights - targets)\n"
            "        velocity = 0.9 * velocity - 0.1 * np.where(mask, gradient, 0.0)\n"
            "        weights = weights + velocity\n"
            "    return weights\n",
            "one-masked-step",
        ),
        WrongAnswer(
            "mask applied at the end alone",
            "q5",
            "def train_pruned(weights, mask, velocity, inputs, targets, num_steps):\n"
            "    for _ in range(num_steps):\n"
            "        gradient = 2 / len(inputs) * inputs.T @ (inputs @ weights - targets)\n"
            "        velocity = 0.9 * velocity - 0.1 * gradient\n"
            "        weights = weights + velocity\n"
            "    return np.where(mask, weights, 0.0)\n",
            "masked-steps",
        ),
        WrongAnswer(
            "weights changed in place",
            "q5",
            "def train_pruned(weights, mask, velocity, inputs, targets, num_steps):\n"
            "    for _ in range(num_steps):\n"
            "        gradient = 2 / len(inputs) * inputs.T @ (inputs @ weights - targets)\n"
            "        velocity = 0.9 * velocity - 0.1 * gradient\n"
            "        weights += velocity\n"
            "        weights[~mask] = 0.0\n"
            "    return weights\n",
            "arrays-untouched",
        ),
        WrongAnswer(
            "columns of the first gate alone",
            "q6",
            "def keep_units(kernel, recurrent_kernel, bias, head, kept):\n"
            "    return kernel[:, kept], recurrent_kernel[kept][:, kept], bias[kept], head[kept]\n",
            "units-kept",
        ),
        WrongAnswer(
            "four columns in a row for each unit",
            "q6",
            "def keep_units(kernel, recurrent_kernel, bias, head, kept):\n"
            "    columns = [4 * unit + gate for unit in kept for gate in range(4)]\n"
            "    return kernel[:, columns], recurrent_kernel[kept][:, columns], bias[columns], head[kept]\n",
            "units-kept",
        ),
        WrongAnswer(
            "highest correlation instead of most zeros",
            "q7",
            "def choose_share(vectors, pairs, ratings, candidates, max_loss):\n"
            "    unpruned = correlation(vectors, pairs, ratings)\n"
            "    pruned = [correlation(prune(vectors, share), pairs, ratings) for share in candidates]\n"
            "    best = int(np.argmax(pruned))\n"
            "    return candidates[best], unpruned - pruned[best]\n",
            "share-chosen",
        ),
        WrongAnswer(
            "loss measured against the candidate before",
            "q7",
            "def choose_share(vectors, pairs, ratings, candidates, max_loss):\n"
            "    before, chosen = correlation(vectors, pairs, ratings), (0.0, 0.0)\n"
            "    for candidate in candidates:\n"
            "        after = correlation(prune(vectors, candidate), pairs, ratings)\n"
            "        if before - after <= max_loss:\n"
            "            chosen = (candidate, before - after)\n"
            "        before = after\n"
            "    return chosen\n",
            "share-chosen",
        ),
    ),
)
