"""Checks of exercise 04: losses and label formats, Adam, a schedule, clipping, checkpoints, stopping."""

import functools

import numpy as np
from scipy.special import expit, log_expit, log_softmax

from course_lib.data import load_rotten_tomatoes
from course_lib.grading.checks import Check, Exercise, WrongAnswer

_FREQUENT = (
    "good",
    "bad",
    "not",
    "funny",
    "best",
    "no",
    "but",
    "more",
    "love",
    "film",
    "comedy",
    "drama",
    "too",
)


def as_two_classes(logits, labels):
    flat = np.ravel(logits)
    return np.stack([0 * flat, flat], axis=1), np.array([int(label) for label in np.ravel(labels)])


def cross_entropy(logits, labels):
    chosen = [row[label] for row, label in zip(log_softmax(logits, axis=1), labels, strict=True)]
    return -float(np.mean(chosen))


def adam_step(theta, gradient, m, v, t, learning_rate):
    """Keras's form, with rate and epsilon moved back into the corrected averages."""
    m = m + 0.1 * (gradient - m)
    v = v + 0.001 * (np.square(gradient) - v)
    root = np.sqrt(1 - 0.999**t)
    return theta - learning_rate * (m / (1 - 0.9**t)) / (np.sqrt(v) / root + 1e-7 / root), m, v


def learning_rate_at(step, num_steps, warmup_steps, peak):
    """The decay by the identity 1 + cos 2x = 2 cos² x."""
    angle = np.interp(step, [warmup_steps, num_steps], [0, np.pi / 2])
    rising = np.interp(step, [0, warmup_steps], [0, 1]) if warmup_steps else 1.0
    return float(peak * rising * np.cos(angle) ** 2)


def clip(gradients, limit):
    norm = np.linalg.norm(np.concatenate([gradient.ravel() for gradient in gradients]))
    return [gradient * min(1.0, limit / max(norm, 1e-300)) for gradient in gradients]


def resumed(features, targets, seed, num_before, num_after):
    """The same run, never cut off."""
    features, targets = np.array(features), np.array(targets)
    weights = velocity = np.zeros(features.shape[1])
    random = np.random.default_rng(seed)
    for step in range(num_before + num_after):
        kept = np.where(random.random(features.shape) < 0.8, features, 0.0)
        gradient = ((kept @ weights - targets)[:, None] * kept).mean(axis=0)
        velocity = 0.9 * velocity - 0.2 / (1 + step) * gradient
        weights = weights + velocity
    return weights


def _curve(train, validation, learning_rate, max_epochs):
    """The weights and the validation loss after each epoch."""
    (features, labels), weights, results = train, np.zeros(train[0].shape[1]), []
    for epoch in range(1, max_epochs + 1):
        for row in np.random.default_rng(epoch).permutation(len(features)):
            error = expit(features[row] @ weights) - labels[row]
            weights = weights - learning_rate * error * features[row]
        signs = 2 * validation[1] - 1
        results.append((weights, float(-log_expit(signs * (validation[0] @ weights)).mean())))
    return results


def train_until(train, validation, learning_rate, patience, max_epochs):
    """Trains all epochs first and looks for the place to stop afterwards."""
    curve = _curve(train, validation, learning_rate, max_epochs)
    best, trained = _stop([loss for _, loss in curve], patience)
    return best, curve[best - 1][0], trained


def _stop(losses, patience):
    for trained in range(1, len(losses) + 1):
        best = int(np.argmin(losses[:trained])) + 1
        if trained - best >= patience:
            break
    return best, trained


def _one_logit(random):
    cases = []
    for num, kind in ((3, np.int64), (1, np.int64), (4, np.float64)):
        cases.append((random.normal(0, 3, (num, 1)), random.integers(0, 2, (num, 1)).astype(kind)))
    return cases


def _logits(random):
    return [
        (random.normal(0, 2, (batch, classes)), random.integers(0, classes, batch))
        for batch, classes in ((4, 3), (1, 5), (6, 2))
    ]


def _large_logits(random):
    cases = zip((1e3, -1e4, 1e3), _logits(random), strict=True)
    return [(scale * logits, labels) for scale, (logits, labels) in cases]


def _steps(random):
    first = (random.normal(size=3), random.normal(size=3), np.zeros(3), np.zeros(3), 1, 0.1)
    later = [
        (*random.normal(size=(3, 4)), random.uniform(0.1, 2, 4), t, float(random.uniform(0.01, 0.2)))
        for t in (2, 5, 40)
    ]
    return [first, *later]


def _small_gradients(random):
    gradient = 1e-6 * random.uniform(0.2, 2, 4) * random.choice([-1, 1], 4)
    zero = np.zeros(4)
    return [
        (random.normal(size=4), gradient, zero, zero, 1, 0.1),
        (random.normal(size=4), gradient, 0.2 * gradient, 0.002 * gradient**2, 3, 0.1),
    ]


def _rising(random):
    num_warmup = int(random.integers(10, 50))
    return [(step, 300, num_warmup, 0.004) for step in (0, 1, num_warmup // 2, num_warmup - 1)]


def _falling(random):
    num_warmup, num_steps = int(random.integers(10, 50)), int(random.integers(200, 300))
    steps = [num_warmup, num_warmup + 1, (num_warmup + num_steps) // 2, num_steps - 1, num_steps]
    return [(step, num_steps, num_warmup, 0.02) for step in steps] + [(0, 10, 0, 0.02), (7, 10, 0, 0.02)]


def _gradients(random):
    return [random.normal(0, scale, shape) for scale, shape in ((2, (2, 3)), (0.1, 4), (1, (1, 2)))]


def _long_gradients(random):
    return [(_gradients(random), float(random.uniform(0.3, 0.9))) for _ in range(2)]


def _short_gradients(random):
    return [(_gradients(random), 60.0), ([np.zeros(2), np.zeros((1, 3))], 1.0)]


def _runs(random, num_before, num_after):
    features, weights = random.normal(size=(8, 3)), random.normal(size=3)
    targets = features @ weights
    return [(features.tolist(), targets.tolist(), int(random.integers(1_000)), num_before, num_after)]


def _runs_at_the_cut(random):
    return _runs(random, 4, 0) + _runs(random, 0, 3)


def _runs_after_the_cut(random):
    return _runs(random, 1, 1) + _runs(random, 3, 6)


@functools.cache
def _sentences():
    sentences = load_rotten_tomatoes()
    cut = [set(sentence.text.split()) for sentence in sentences]
    features = np.array([[word in tokens for word in _FREQUENT] for tokens in cut], dtype=float)
    return features, np.array([sentence.label for sentence in sentences])


def _some_sentences(random, num_train, num_validation):
    features, labels = _sentences()
    # A sentence without any of the words says nothing to this model.
    rows = random.choice(np.flatnonzero(features.any(axis=1)), num_train + num_validation, replace=False)
    train, validation = rows[:num_train], rows[num_train:]
    return (features[train], labels[train]), (features[validation], labels[validation])


def _noisy_runs(random):
    """Runs whose first rise is followed by a lower loss: once it is to be reached, once it comes too late."""
    cases = []
    for patience in (3, 1):
        while True:
            parts = _some_sentences(random, 40, 60)
            losses = [loss for _, loss in _curve(*parts, 0.15, 20)]
            best, trained = _stop(losses, 3)
            # Not within reach of rounding.
            if best > _stop(losses, 1)[0] and trained < 20 and np.diff(sorted(losses)).min() > 1e-7:
                break
        cases.append((*parts, 0.15, patience, 20))
    return cases


def _short_runs(random):
    parts = _some_sentences(random, 40, 60)
    return [(*parts, 0.05, 30, 6), (*parts, 0.05, 1, 1)]


CLOSE = 1e-8
EXERCISE = Exercise(
    checks=(
        Check(
            "q1",
            "two-logits",
            1,
            "as_two_classes(*args)[0]",
            _one_logit,
            lambda *arguments: as_two_classes(*arguments)[0],
            "The single logit is the difference of the two, that of class 1 minus that of class 0.",
            "04_training#same-loss",
            CLOSE,
        ),
        Check(
            "q1",
            "class-ids",
            1,
            "as_two_classes(*args)[1]",
            _one_logit,
            lambda *arguments: as_two_classes(*arguments)[1],
            "Sparse labels are one integer for each text, of the shape (batch,), not (batch, 1).",
            "04_training#formats",
        ),
        Check(
            "q2",
            "cross-entropy",
            2,
            "cross_entropy(*args)",
            _logits,
            cross_entropy,
            "One softmax, over the classes of each text; then the mean of -log p of the true class.",
            "04_training#crossentropy",
            CLOSE,
        ),
        Check(
            "q2",
            "cross-entropy-large",
            1,
            "cross_entropy(*args)",
            _large_logits,
            cross_entropy,
            "exp of a large logit overflows, and the log of a vanished probability is infinite: subtract "
            "each text's largest logit and stay with logarithms.",
            "04_training#crossentropy-by-hand",
            CLOSE,
        ),
        Check(
            "q3",
            "adam-step",
            2,
            "adam_step(*args)",
            _steps,
            adam_step,
            "Both averages start at zero, so they are divided by 1 - beta^t for the step; the averages that "
            "are returned are the plain ones.",
            "04_training#optimizers",
            CLOSE,
        ),
        Check(
            "q3",
            "adam-small-gradients",
            1,
            "adam_step(*args)",
            _small_gradients,
            adam_step,
            "Keras adds epsilon to the root of the uncorrected average: neither under the root (that is "
            "RMSprop) nor after the correction (that is the paper's Algorithm 1). For tiny gradients this "
            "decides the length of the step.",
            "04_training#optimizers",
            CLOSE,
        ),
        Check(
            "q4",
            "rate-rising",
            1,
            "learning_rate_at(*args)",
            _rising,
            learning_rate_at,
            "During the warm-up the rate rises in a straight line from 0.",
            "04_training#schedule",
            CLOSE,
        ),
        Check(
            "q4",
            "rate-falling",
            1,
            "learning_rate_at(*args)",
            _falling,
            learning_rate_at,
            "The half cosine begins where the warm-up ends, at the peak, and reaches 0 at the last step.",
            "04_training#schedule",
            CLOSE,
        ),
        Check(
            "q5",
            "clip-long",
            1,
            "clip(*args)",
            _long_gradients,
            clip,
            "There is one norm, that of the numbers of all tensors together, and one factor for all.",
            "04_training#rate-failure-reading",
            CLOSE,
        ),
        Check(
            "q5",
            "clip-short",
            1,
            "clip(*args)",
            _short_gradients,
            clip,
            "Gradients whose norm is below the limit stay as they are, zeros too.",
            "04_training#rate-failure-reading",
            CLOSE,
        ),
        Check(
            "q6",
            "kept-weights",
            1,
            "resumed(*args)",
            _runs_at_the_cut,
            resumed,
            "Right after the cut the weights must be those of the run that was cut off.",
            "04_training#resume",
            CLOSE,
        ),
        Check(
            "q6",
            "kept-state",
            2,
            "resumed(*args)",
            _runs_after_the_cut,
            resumed,
            "Whatever the next step reads must be kept: the optimizer's average, the number of the step for "
            "the schedule, and the random state for dropout.",
            "04_training#resume",
            CLOSE,
        ),
        Check(
            "q7",
            "stop-epochs",
            2,
            "train_until(*args)[::2]",
            _noisy_runs,
            lambda *arguments: train_until(*arguments)[::2],
            "The validation loss decides, compared with the best so far; one rise is not the end, and what "
            "would come after the end is not looked at.",
            "04_training#early-reading",
        ),
        Check(
            "q7",
            "stop-weights",
            1,
            "train_until(*args)[1]",
            _noisy_runs,
            lambda *arguments: train_until(*arguments)[1],
            "After the last epoch training returns to the weights of the best one.",
            "04_training#early-reading",
            CLOSE,
        ),
        Check(
            "q7",
            "stop-limit",
            1,
            "train_until(*args)[::2]",
            _short_runs,
            lambda *arguments: train_until(*arguments)[::2],
            "The number of epochs has a limit, and epochs are counted from 1.",
            "04_training#early-stop",
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "logit given to both classes with opposite signs",
            "q1",
            "def as_two_classes(logits, labels):\n"
            "    return np.hstack([-logits, logits]), labels[:, 0].astype(int)\n",
            "two-logits",
        ),
        WrongAnswer(
            "softmax over the texts instead of the classes",
            "q2",
            "def cross_entropy(logits, labels):\n"
            "    shifted = logits - logits.max(axis=0)\n"
            "    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=0))\n"
            "    return float(-log_probabilities[np.arange(len(labels)), labels].mean())\n",
            "cross-entropy",
        ),
        WrongAnswer(
            "softmax applied twice",
            "q2",
            "def cross_entropy(logits, labels):\n"
            "    for _ in range(2):\n"
            "        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))\n"
            "        logits = exponentials / exponentials.sum(axis=1, keepdims=True)\n"
            "    return float(-np.log(logits[np.arange(len(labels)), labels]).mean())\n",
            "cross-entropy",
        ),
        WrongAnswer(
            "exponentials that overflow",
            "q2",
            "def cross_entropy(logits, labels):\n"
            "    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)\n"
            "    return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())\n",
            "cross-entropy-large",
        ),
        WrongAnswer(
            "correction for the start at zero forgotten",
            "q3",
            "def adam_step(theta, gradient, m, v, t, learning_rate):\n"
            "    m = 0.9 * m + 0.1 * gradient\n"
            "    v = 0.999 * v + 0.001 * gradient**2\n"
            "    return theta - learning_rate * m / (np.sqrt(v) + 1e-7), m, v\n",
            "adam-step",
        ),
        WrongAnswer(
            "epsilon under the root",
            "q3",
            "def adam_step(theta, gradient, m, v, t, learning_rate):\n"
            "    m = 0.9 * m + 0.1 * gradient\n"
            "    v = 0.999 * v + 0.001 * gradient**2\n"
            "    step = m / (1 - 0.9**t) / np.sqrt(v / (1 - 0.999**t) + 1e-7)\n"
            "    return theta - learning_rate * step, m, v\n",
            "adam-small-gradients",
        ),
        WrongAnswer(
            "epsilon added after the correction",
            "q3",
            "def adam_step(theta, gradient, m, v, t, learning_rate):\n"
            "    m = 0.9 * m + 0.1 * gradient\n"
            "    v = 0.999 * v + 0.001 * gradient**2\n"
            "    step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)\n"
            "    return theta - learning_rate * step, m, v\n",
            "adam-small-gradients",
        ),
        WrongAnswer(
            "warm-up left out",
            "q4",
            "def learning_rate_at(step, num_steps, warmup_steps, peak):\n"
            "    progress = max(0, step - warmup_steps) / (num_steps - warmup_steps)\n"
            "    return float(peak / 2 * (1 + np.cos(np.pi * progress)))\n",
            "rate-rising",
        ),
        WrongAnswer(
            "cosine that began at step 0",
            "q4",
            "def learning_rate_at(step, num_steps, warmup_steps, peak):\n"
            "    if step < warmup_steps:\n"
            "        return peak * step / warmup_steps\n"
            "    return float(peak / 2 * (1 + np.cos(np.pi * step / num_steps)))\n",
            "rate-falling",
        ),
        WrongAnswer(
            "each tensor clipped by its own norm",
            "q5",
            "def clip(gradients, limit):\n"
            "    norms = [np.linalg.norm(gradient) for gradient in gradients]\n"
            "    pairs = zip(gradients, norms, strict=True)\n"
            "    return [g * limit / norm if norm > limit else g for g, norm in pairs]\n",
            "clip-long",
        ),
        WrongAnswer(
            "short gradients stretched to the limit",
            "q5",
            "def clip(gradients, limit):\n"
            "    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))\n"
            "    return [gradient * limit / norm for gradient in gradients]\n",
            "clip-short",
        ),
        WrongAnswer(
            "weights alone kept",
            "q6",
            'def state_to_keep(run):\n    return {"weights": run.weights.tolist()}\n',
            "kept-state",
        ),
        WrongAnswer(
            "random state of dropout forgotten",
            "q6",
            "def state_to_keep(run):\n"
            '    state = {"weights": run.weights.tolist(), "velocity": run.velocity.tolist()}\n'
            '    return state | {"step_number": run.step_number}\n',
            "kept-state",
        ),
        WrongAnswer(
            "training loss watched instead of the validation loss",
            "q7",
            "def train_until(train, validation, learning_rate, patience, max_epochs):\n"
            "    weights = np.zeros(train[0].shape[1])\n"
            "    best_epoch, best_loss, best_weights = 0, np.inf, weights\n"
            "    for epoch in range(1, max_epochs + 1):\n"
            "        weights = one_epoch(weights, *train, epoch, learning_rate)\n"
            "        if loss(weights, *train) < best_loss:\n"
            "            best_epoch, best_loss, best_weights = epoch, loss(weights, *train), weights\n"
            "        if epoch - best_epoch >= patience:\n"
            "            break\n"
            "    return best_epoch, best_weights, epoch\n",
            "stop-epochs",
        ),
        WrongAnswer(
            "last weights returned instead of the best",
            "q7",
            "def train_until(train, validation, learning_rate, patience, max_epochs):\n"
            "    weights = np.zeros(train[0].shape[1])\n"
            "    best_epoch, best_loss = 0, np.inf\n"
            "    for epoch in range(1, max_epochs + 1):\n"
            "        weights = one_epoch(weights, *train, epoch, learning_rate)\n"
            "        if loss(weights, *validation) < best_loss:\n"
            "            best_epoch, best_loss = epoch, loss(weights, *validation)\n"
            "        if epoch - best_epoch >= patience:\n"
            "            break\n"
            "    return best_epoch, weights, epoch\n",
            "stop-weights",
        ),
    ),
    datasets=("rotten_tomatoes",),
)
